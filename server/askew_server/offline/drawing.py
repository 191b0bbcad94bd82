"""Draw thumbnails in a child process of their own: a photo that crashes, hangs or exhausts it costs only its thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from askew_client.errors import PhotoError
from askew_server.offline.thumbnails import thumbnail
from askew_server.processes import Child, ChildLost, LimitExceeded, Limits, Say, bounded_address_space

_TRIES = 2
"""A child may be lost for lack of memory elsewhere. Lost twice, it was the photo."""


class Draw(Protocol):
    """Makes a thumbnail; see thumbnails.py."""

    def __call__(self, photo: Path, size: int, *, max_pixels: int) -> bytes:
        """A picture. May raise anything."""


class Drawer:
    """Draws thumbnails of at most `size` pixels, one after another. The child starts with the first one."""

    def __init__(self, size: int, *, max_pixels: int, limits: Limits, draw: Draw = thumbnail) -> None:
        """`limits`: of each photo. `draw`: a function that the child can import."""
        self._size = size
        self._max_pixels = max_pixels
        self._limits = limits
        self._draw = draw
        self._child: Child | None = None

    def draw(self, photo: Path) -> bytes:
        """The thumbnail of a photo. Raises PhotoError if it cannot be made, for whatever reason."""
        for tries_left in reversed(range(_TRIES)):
            child = self._ready_child()
            try:
                return child.run(
                    _draw,
                    (self._draw, photo, self._size, self._max_pixels, self._limits.memory_bytes),
                    {},
                    limits=self._limits,
                    hear=lambda _: None,
                    is_unwanted=lambda: False,
                )
            except ChildLost as error:
                self.close()
                if not tries_left:
                    raise PhotoError(f"No thumbnail of {photo} was made: {error}.") from None
            except LimitExceeded as error:
                self.close()
                raise PhotoError(f"No thumbnail of {photo} was made: {error.what}, so it was stopped.") from None
            except PhotoError:
                raise
            # It failed in the child, which goes on: the libraries that decode photos raise errors of many kinds.
            except Exception as error:
                raise PhotoError(f"No thumbnail of {photo} was made: {type(error).__name__}: {error}.") from error
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready_child(self) -> Child:
        # A child that cannot be started is not the fault of a photo.
        if self._child is None or not self._child.is_alive:
            self.close()
            self._child = Child()
            self._child.wait_until_ready(lambda: False)
        return self._child


def _draw(_: Say, draw: Draw, photo: Path, size: int, max_pixels: int, memory_bytes: int | None) -> bytes:
    with bounded_address_space(memory_bytes):
        return draw(photo, size, max_pixels=max_pixels)
