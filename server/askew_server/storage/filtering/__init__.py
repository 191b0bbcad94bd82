"""What a filter means, and its evaluation over payloads and columns."""
