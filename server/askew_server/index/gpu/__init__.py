"""Exact search on the GPU, in a process of its own: FAISS aborts its process where a kernel is missing."""
