"""Galleries, independent of HTTP and FAISS: search, items, the catalog of galleries, aliases."""
