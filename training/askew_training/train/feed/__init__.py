"""Feeding a GPU: few shapes, photos that stay in its memory, and views that it computes itself."""
