"""Galleries without HTTP and without FAISS: search, items, the catalog of galleries, aliases."""
