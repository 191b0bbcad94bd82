"""What a server's answer to one photo means for the photos behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError, ProblemError, ServerUnreachable
from askew_server.storage.items import StoredItem

_FOR_ALL = {
    *(401, 402, 403, 407, 409, 429),
    *(502, 503, 504, 507),
}
"""Statuses that say nothing of the photo: the key, the gallery, the load or the disk would stop the next ones, too."""
_SLUGS_FOR_ALL = {ProblemKind.UNKNOWN_GALLERY.slug, ProblemKind.DAMAGED_GALLERY.slug}
_MOST_FAILURES = 3
"""So many photos in a row for which the server failed or the connection broke say that it is not the photos."""


def is_for_all(error: ProblemError) -> bool:
    """Whether a refusal says nothing of the one that was sent, and would be that of the next ones, too."""
    return error.status in _FOR_ALL or error.problem.slug in _SLUGS_FOR_ALL


class Refusals:
    """Sends items one by one, and tells refusals of one item from what stops all of them."""

    def __init__(self, look: Callable[[], object]) -> None:
        """`look`: asks the server for anything else. Raises ServerUnreachable if nobody answers."""
        self._look = look
        self._failures = 0

    def send(self, items: list[StoredItem], send: Callable[[StoredItem], object]) -> Iterator[tuple[str, str]]:
        """Send each item: its id, and the sentence if it is refused, else "". Raises AskewError for what stops all."""
        for item in items:
            refused = ""
            try:
                send(item)
                self._failures = 0
            except AskewError as error:
                if not self._is_of_one(error):
                    raise
                refused = str(error)
            yield item.id, refused

    def _is_of_one(self, error: AskewError) -> bool:
        """Whether the error is about the item that was sent. The client has tried again what may pass by itself."""
        if isinstance(error, ProblemError):
            if is_for_all(error):
                return False
            if error.status < 500:
                self._failures = 0
                return True
        # A proxy that refuses a large body often closes the connection without an answer.
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            return False
        if isinstance(error, ServerUnreachable):
            self._look()
        return True
