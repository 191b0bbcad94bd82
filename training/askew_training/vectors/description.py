"""Describing many photos with an encoder, and saving the vectors at intervals: what both caches share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.cores import usable_cores
from askew_client.errors import PhotoError


def open_encoder(file: Path) -> Encoder:
    """Open an encoder file for describing many photos. Raises what Encoder raises."""
    # One thread for each photo, several photos at a time: faster than one photo after the other on all cores.
    return Encoder(file, threads=1)


def describe_photos(encoder: Encoder, paths: Iterable[Path]) -> Iterator[NDArray[np.float32] | PhotoError]:
    """Describe photos on all cores: for each, in their order, a unit vector, float32 [D], or why there is none."""
    return encoder.encode_stream(paths, workers=usable_cores())


@contextmanager
def save_at_intervals(save: Callable[[], None], seconds: float) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each photo; it calls `save` if `seconds` have passed since the last time.

    `save` is called once more at the end, also when the work is interrupted.
    """
    saved = time.monotonic()

    def after_photo() -> None:
        nonlocal saved
        if time.monotonic() - saved > seconds:
            save()
            saved = time.monotonic()

    try:
        yield after_photo
    finally:
        save()
