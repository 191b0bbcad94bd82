"""SQLite: items, encoders, probes and keys on the disk. No threads, no HTTP, no FAISS."""
