"""Askew on the gallery side: keep galleries, admit encoders, answer searches."""
