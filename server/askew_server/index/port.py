"""The index port: what a gallery needs from the backend that finds its nearest vectors.

The catalog, the admission gate and re-description use an index only through this protocol. To add a backend, write a
module with a class that implements it, and open it in gallery/index_manager.py. tests/server/index/congruence.py checks
what every implementation must do; add the backend to the list in tests/server/index/test_congruence.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from askew_client.contract.indexes import WantedKind
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.index.types import Allowed, IndexStatistics, IndexStatus, Labels, Neighbours, Vectors

Report = Callable[[int, int | None], None]
"""report(done, total): the progress of a rebuild; `total` is None if it is unknown."""


class BuildCancelled(AskewError):
    """The build was cancelled; the older index is still used."""


class BuildFailed(AskewError):
    """The build failed; the older index is still used."""


def gallery_closed(gallery: str) -> Refusal:
    """The refusal that every method of a closed index raises."""
    return Refusal(
        ProblemKind.UNKNOWN_GALLERY,
        f"Gallery {gallery!r} is closed: it was deleted or set aside as damaged, or the server is stopping. "
        "GET /v1/galleries lists the galleries that are served.",
    )


class VectorSource(Protocol):
    """Where an index reads the vectors of a gallery. It is sent to the build process, so it must be picklable."""

    @property
    def dim(self) -> int:
        """Components of a vector."""

    def covered(self) -> tuple[int, Labels]:
        """The sequence number to cover, and every label up to it, ascending."""

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        """The vectors of these ascending labels, float32 [n, D], in batches; labels that no longer exist are left out."""


class VectorIndex(Protocol):
    """The vectors of one gallery by label. Safe to use from any thread, and from any event loop.

    Vectors are float32 [n, D] of unit length. Labels are int64 [n], ascending, and never reused. Once closed, every
    method except `rebuilds` and `close` raises Refusal (unknown-gallery) at once.
    """

    async def search(self, vectors: Vectors, wanted: int, allowed: Allowed | None, exact: bool) -> Neighbours:
        """Find at least the `wanted` nearest of each query, or all if there are fewer.

        `allowed`: search only among these items; labels may include unknown ones. `exact`: the true nearest, at any
        cost. If a caller is cancelled while it waits, its search is not run. Raises Refusal (unknown-gallery).
        """

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """Like `search` among all vectors, for a thread that may block. Raises Refusal (unknown-gallery)."""

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors; the next search finds them. Raises Refusal (unknown-gallery)."""

    def remove(self, labels: Labels) -> None:
        """Remove vectors; the next search does not find them. Unknown labels are ignored. Raises Refusal."""

    def statistics(self) -> IndexStatistics:
        """The size and state of the index. Raises Refusal (unknown-gallery)."""

    def status(self) -> IndexStatus:
        """The kind that it should have, the resources that this takes, and the state of rebuilds.

        Raises Refusal (unknown-gallery), AskewError.
        """

    def choose(self, kind: WantedKind) -> None:
        """Use an index of this kind from now on; it is built in the background. Called by the database's owner thread.

        Raises Refusal: would-not-fit; validation for a kind that this machine or this dimension does not support.
        """

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """Rebuild the index and wait for it. A rebuild that is under way is finished first.

        Raises BuildCancelled, BuildFailed, Refusal (would-not-fit, unknown-gallery).
        """

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """How many rebuilds ended since the index was opened, by outcome (ok, failed). Never blocks."""

    @property
    def is_building(self) -> bool:
        """Whether an automatic rebuild is running or queued. Never blocks."""

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the index cannot answer because it is being restored. Never blocks."""

    def close(self) -> None:
        """Stop rebuilds and threads. Waiting searches and changes are finished first; later calls raise Refusal."""
