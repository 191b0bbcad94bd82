"""The contract between encoders, phones and galleries: what both sides must agree on, and nothing else."""
