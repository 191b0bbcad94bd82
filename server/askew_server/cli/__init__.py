"""The server's commands of the `askew` command line, one module for each group; imported when a command runs."""
