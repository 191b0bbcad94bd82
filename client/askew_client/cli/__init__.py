"""The `askew` command line: where commands are found, and the client's own."""
