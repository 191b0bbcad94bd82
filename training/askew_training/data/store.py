"""Decoded photos by index, at one size: what training reads its photos from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.photos import read_photo, read_shape, shrunk_size
from askew_training.data.pixels import shrunk


class PhotoStore:
    """Photos by their index in `paths`, decoded by the rules that every part of Askew shares, then shrunk so that the
    longest side is `longest_side` px at most; never enlarged.

    May be read from several threads at once, be pickled, and be carried into forked processes.
    """

    def __init__(self, paths: Sequence[Path], longest_side: int) -> None:
        self._paths = list(paths)
        self._longest_side = longest_side

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One photo: uint8 [H, W, 3] RGB, the caller's own to change. Raises PhotoError for a damaged one."""
        return np.array(shrunk(read_photo(self._paths[index]), self._longest_side))

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of `store[index]` by the photo's header; only a PNG is decoded for it.

        Raises PhotoError when the header is damaged; a damaged photo may have a whole header.
        """
        return shrunk_size(*read_shape(self._paths[index]), self._longest_side)
