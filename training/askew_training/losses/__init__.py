"""Losses on plain tensors, one module each with its recipe table. None of them knows which network made its references.

A new loss is one new module here, and one line in `registry.py`.
"""
