"""What both clients do with a request and its answer, whichever way it travels."""
