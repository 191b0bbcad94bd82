"""Losses on plain tensors. None of them knows which network made its references."""
