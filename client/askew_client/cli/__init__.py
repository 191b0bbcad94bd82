"""The `askew` command line: how commands are found and run, and the commands of the client."""
