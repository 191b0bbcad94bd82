"""Finding the nearest vectors: the port that galleries use, and its implementation by FAISS."""
