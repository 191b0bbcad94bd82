"""Changes of items by those who know the gallery by a name, which may be an alias that is switched meanwhile.

A change of teacher describes the items of one gallery into another, and then switches the alias. Whatever is acknowledged
by then must have been described. So a change that comes through a name is checked on the gallery's writer thread, right
before it is made: it is refused (503, Retry-After) while the gallery is held, and if the name means another gallery by now.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery

Result = TypeVar("Result")


class AliasMoved(Refusal):
    """The name by which a change came means another gallery now."""

    def __init__(self, name: str, gallery: str) -> None:
        super().__init__(
            ProblemKind.GALLERY_HELD,
            f"{name!r} named gallery {gallery!r} when this change began, and names another one now. Nothing was changed: "
            "send it again.",
            retry_after=1,
        )


class ItemChanges:
    """Changes of the items of a gallery that was found by a name."""

    def __init__(self, gallery: LiveGallery, name: str, resolve: Callable[[str], str]) -> None:
        """`name`: of the gallery, or an alias. `resolve`: turns an alias into the name of its gallery; any thread may call it."""
        self._gallery = gallery
        self._name = name
        self._resolve = resolve

    def check(self) -> None:
        """Check that changes are taken now. Raises Refusal (gallery-held)."""
        if self._resolve(self._name) != self._gallery.name:
            raise AliasMoved(self._name, self._gallery.name)
        seconds = self._gallery.held_until - time.monotonic()
        if seconds > 0:
            raise Refusal(
                ProblemKind.GALLERY_HELD,
                f"Gallery {self._gallery.name!r} takes no changes while its teacher is changed, which ends in "
                f"{math.ceil(seconds)} s at the latest. Nothing was changed: send it again then. Searches are answered.",
                retry_after=math.ceil(seconds),
            )

    async def write(self, change: Callable[[Gallery], Result]) -> Result:
        """As LiveGallery.write. Raises Refusal (gallery-held)."""
        return await self._gallery.write(lambda gallery: self._checked(gallery, change))

    def submit(self, change: Callable[[Gallery], Result]) -> Future[Result]:
        """As LiveGallery.submit; the future raises Refusal (gallery-held)."""
        return self._gallery.submit(lambda gallery: self._checked(gallery, change))

    def _checked(self, gallery: Gallery, change: Callable[[Gallery], Result]) -> Result:
        self.check()
        return change(gallery)


@contextmanager
def holding(gallery: LiveGallery, seconds: float) -> Iterator[None]:
    """Refuse changes of a gallery's items during the block, for `seconds` at most, whatever becomes of the block."""
    gallery.held_until = time.monotonic() + seconds
    try:
        yield
    finally:
        gallery.held_until = 0.0
