"""Query encoders × gallery encoders in one matrix: quality with its intervals, cost, and which of them are worth it."""
