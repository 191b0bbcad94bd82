"""Finding the nearest vectors: the port that a gallery speaks to, and the engines behind it."""
