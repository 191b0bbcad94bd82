"""Decoded photos by index, at one size: what training reads its photos from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.encoding.photos import read_photo, read_shape, shrunk_size
from askew_client.errors import PhotoError
from askew_training.data.decoded import RESERVE, DecodedPhotos, FileState, state_of
from askew_training.data.parallel import map_in_threads
from askew_training.data.pixels import shrink


class PhotoStore:
    """Photos by their index in `paths`, decoded by the rules that every part of Askew shares, and shrunk to a longest
    side of at most `longest_side` px; never enlarged.

    With a folder `cache`, each photo is decoded once and stored there until its file changes; `reserve` bytes of the
    disk are left free. The store may be read from several threads at the same time, pickled, and used in forked
    processes.
    """

    def __init__(
        self, paths: Sequence[Path], longest_side: int, cache: Path | None = None, reserve: int = RESERVE
    ) -> None:
        self._paths = tuple(paths)
        self._longest_side = longest_side
        self._cache = cache
        self._reserve = reserve
        self._decoded = DecodedPhotos(cache, longest_side, reserve) if cache is not None else None

    def __reduce__(self) -> tuple[type[PhotoStore], tuple[Sequence[Path], int, Path | None, int]]:
        return PhotoStore, (self._paths, self._longest_side, self._cache, self._reserve)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Read one photo: uint8 [H, W, 3] RGB, which the caller may change. Raises PhotoError for a damaged one."""
        path = self._paths[index]
        state = self._state(path)
        cached = self._decoded.read(state) if self._decoded and state else None
        if cached is not None:
            return cached
        photo = np.array(shrink(read_photo(path), self._longest_side))
        if self._decoded and state:
            self._decoded.add(state, photo)
        return photo

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of `store[index]`, from the cache or the photo's header; of the formats, only PNG is decoded
        for it.

        Raises PhotoError if the header is damaged; a damaged photo may have an intact header.
        """
        path = self._paths[index]
        state = self._state(path)
        cached = self._decoded.shape(state) if self._decoded and state else None
        return cached or shrunk_size(*read_shape(path), self._longest_side)

    def fill(self, on_photo: Callable[[], None]) -> list[str]:
        """Decode every photo that is not cached yet, on all cores; `on_photo` is called after each.

        Returns a sentence for each photo that cannot be decoded. Check `complaint` afterwards.
        """
        unreadable = []
        for sentence in map_in_threads(self._problem_of, range(len(self))):
            on_photo()
            if sentence is not None:
                unreadable.append(sentence)
        return unreadable

    @property
    def complaint(self) -> str | None:
        """None, or a sentence that says why decoded photos are no longer stored, such as a full disk; photos can still
        be read."""
        return self._decoded.complaint if self._decoded is not None else None

    def _state(self, path: Path) -> FileState | None:
        """The file's state; None without a cache, and for a file that cannot be read, which decoding will report."""
        try:
            return state_of(path) if self._decoded else None
        except OSError:
            return None

    def _problem_of(self, index: int) -> str | None:
        try:
            self[index]
        except PhotoError as error:
            return str(error)
        return None
