"""The index port: what a gallery needs from whatever finds its nearest vectors.

Catalog, the admission gate and re-description know an index by this protocol alone. A further engine is one module
with a class that fulfils it, and one line in gallery/index_manager.py that opens it. tests/server/index/congruence.py
holds what every implementation must do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from askew_client.contract.indexes import WantedKind
from askew_client.errors import AskewError
from askew_server.index.types import IndexStatistics, IndexStatus, Labels, Neighbours, Vectors

Report = Callable[[int, int | None], None]
"""report(done, total): how far a rebuild is; `total` None where it is unknown."""


class BuildCancelled(AskewError):
    """The build was cancelled; the older index stays."""


class BuildFailed(AskewError):
    """The build could not be finished; the older index stays."""


class VectorSource(Protocol):
    """Where an index reads the vectors of a gallery. It is sent to the process that builds, so it must pickle."""

    @property
    def dim(self) -> int:
        """Components of a vector."""

    def covered(self) -> tuple[int, Labels]:
        """The sequence number to cover, and every label up to it, rising."""

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        """Those of these rising labels that still exist, and their vectors, float32 [n, D], in batches."""


class VectorIndex(Protocol):
    """The vectors of one gallery by label. Safe to use from any thread.

    Vectors are float32 [n, D] of unit length, labels int64 [n], rising, and never used a second time.
    """

    async def search(self, vectors: Vectors, wanted: int, allowed: Labels | None, exact: bool) -> Neighbours:
        """At least the `wanted` nearest of each query, as far as there are that many; `allowed`: among these labels only.

        `exact`: the true nearest, whatever that costs. A caller that is cancelled while it waits costs no search.
        Raises Refusal (unknown-gallery) once the index is closed.
        """

    def search_blocking(self, vectors: Vectors, wanted: int) -> Neighbours:
        """As `search` among all vectors, for a thread that may wait. Raises Refusal (unknown-gallery)."""

    def add(self, labels: Labels, vectors: Vectors) -> None:
        """Add vectors; the next search finds them. Raises Refusal (unknown-gallery)."""

    def remove(self, labels: Labels) -> None:
        """Remove vectors; the next search does not find them. Unknown labels are ignored. Raises Refusal."""

    def statistics(self) -> IndexStatistics:
        """The size and state of the index. Raises Refusal (unknown-gallery)."""

    def status(self) -> IndexStatus:
        """Which kind it should be and what that would take, and how its rebuilds fared. Raises Refusal, AskewError."""

    def choose(self, kind: WantedKind) -> None:
        """Have an index of this kind from now on; it is built in the background.

        Raises Refusal: would-not-fit; validation for what this machine or this dimension cannot have.
        """

    def rebuild(self, report: Report, cancelled: Callable[[], bool]) -> IndexStatistics:
        """Rebuild the index, after a rebuild that is under way, and wait for it.

        Raises BuildCancelled, BuildFailed, Refusal (would-not-fit, unknown-gallery).
        """

    @property
    def rebuilds(self) -> Mapping[str, int]:
        """How many rebuilds ended since it was opened, by outcome (ok, failed); read without waiting."""

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the index cannot answer because it is being restored."""

    def close(self) -> None:
        """Stop rebuilds and threads. Searches that wait are answered first; later calls raise Refusal."""
