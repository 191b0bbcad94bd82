"""What both clients share around HTTP: making requests, reading answers, receiving files, waiting for jobs."""
