"""Decoded photos by index, at one size: what training reads its photos from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.photos import read_photo, read_shape, shrunk_size
from askew_client.errors import PhotoError
from askew_training.data.decoded import DecodedPhotos, FileState, state_of
from askew_training.data.parallel import mapped
from askew_training.data.pixels import shrunk


class PhotoStore:
    """Photos by their index in `paths`, decoded by the rules that every part of Askew shares, then shrunk so that the
    longest side is `longest_side` px at most; never enlarged.

    With `cache`, a folder, each is decoded once and kept there, until its file changes. May be read from several
    threads at once, be pickled, and be carried into forked processes.
    """

    def __init__(self, paths: Sequence[Path], longest_side: int, cache: Path | None = None) -> None:
        self._paths = tuple(paths)
        self._longest_side = longest_side
        self._cache = cache
        self._decoded = DecodedPhotos(cache, longest_side) if cache is not None else None

    def __reduce__(self) -> tuple[type[PhotoStore], tuple[Sequence[Path], int, Path | None]]:
        return PhotoStore, (self._paths, self._longest_side, self._cache)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """One photo: uint8 [H, W, 3] RGB, the caller's own to change. Raises PhotoError for a damaged one."""
        path = self._paths[index]
        state = self._state(path)
        kept = self._decoded.read(state) if self._decoded and state else None
        if kept is not None:
            return kept
        photo = np.array(shrunk(read_photo(path), self._longest_side))
        if self._decoded and state:
            self._decoded.add(state, photo)
        return photo

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of `store[index]` by the cache, or by the photo's header; only a PNG is decoded for it.

        Raises PhotoError when the header is damaged; a damaged photo may have a whole header.
        """
        path = self._paths[index]
        state = self._state(path)
        kept = self._decoded.shape(state) if self._decoded and state else None
        return kept or shrunk_size(*read_shape(path), self._longest_side)

    def fill(self, on_photo: Callable[[], None]) -> list[str]:
        """Decode every photo that the cache lacks, on all cores; `on_photo` is called after each.

        Returns a sentence for each photo that cannot be decoded. Look at `complaint` afterwards.
        """
        unreadable = []
        for sentence in mapped(self._sentence_on, range(len(self))):
            on_photo()
            if sentence is not None:
                unreadable.append(sentence)
        return unreadable

    @property
    def complaint(self) -> str | None:
        """None, or a sentence on why decoded photos are no longer kept, such as a full disk; reading goes on."""
        return self._decoded.complaint if self._decoded is not None else None

    def _state(self, path: Path) -> FileState | None:
        """The file's state; None without a cache, or for a file that cannot be read, which decoding will say."""
        try:
            return state_of(path) if self._decoded else None
        except OSError:
            return None

    def _sentence_on(self, index: int) -> str | None:
        try:
            self[index]
        except PhotoError as error:
            return str(error)
        return None
