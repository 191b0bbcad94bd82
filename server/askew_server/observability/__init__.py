"""What the server reports about itself: request records, metrics, traces, logs."""
