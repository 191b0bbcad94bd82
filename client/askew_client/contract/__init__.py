"""The contract between encoders, clients and servers: what all sides must agree on, and nothing else."""
