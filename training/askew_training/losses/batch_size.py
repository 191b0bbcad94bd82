"""The refusal of batches with too few photos for a loss."""

from __future__ import annotations


def refuse_small_batch(loss: str, photos: int, smallest: int) -> None:
    """Raise ValueError when a batch has fewer than `smallest` photos; `loss` is its name for a person."""
    if photos < smallest:
        raise ValueError(
            f"{loss} expects at least {smallest} photos in a batch, got {photos}. Make the batches larger, "
            "or leave this loss out."
        )
