"""The HTTP routes, one module for each kind of thing; none of them knows SQLite or FAISS."""
