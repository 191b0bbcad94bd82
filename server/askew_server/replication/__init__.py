"""Read replicas: a server that follows the write sequence of another one, and may take its place."""
