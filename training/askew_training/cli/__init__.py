"""The training commands of the `askew` command line; imported when a command runs."""
