"""The training commands of the `askew` command line. Nothing heavy is imported before a command runs."""
