"""Vector indexes: the port that galleries use, and its implementation with FAISS."""
