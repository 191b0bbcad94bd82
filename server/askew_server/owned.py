"""A gallery and the thread that owns it.

Everything that touches a gallery's database or index runs on its thread, one task after the other. So an index is
never searched while it changes, and a search sees every write acknowledged before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_server.encoder_store import EncoderStore
from askew_server.errors import Refusal
from askew_server.gallery import Gallery
from askew_server.index.faiss_exact import import_faiss

Result = TypeVar("Result")


class OwnedGallery:
    """A gallery and the thread that owns it."""

    def __init__(self, gallery: Gallery, owner: ThreadPoolExecutor, max_waiting: int) -> None:
        self._gallery = gallery
        self._owner = owner
        self._places = threading.BoundedSemaphore(max_waiting)

    @classmethod
    def open(cls, name: str, opening: Callable[[], Gallery], max_waiting: int) -> Self:
        """Start the thread and open the gallery on it. Raises DamagedGallery, EngineMissing."""
        import_faiss()
        owner = ThreadPoolExecutor(1, thread_name_prefix=f"gallery-{name}", initializer=_set_engine_threads)
        try:
            gallery = owner.submit(opening).result()
        except BaseException:
            owner.shutdown()
            raise
        return cls(gallery, owner, max_waiting)

    @property
    def name(self) -> str:
        """The gallery's name."""
        return self._gallery.name

    @property
    def space(self) -> str:
        """The gallery's space."""
        return self._gallery.space

    @property
    def dim(self) -> int:
        """Components of its vectors."""
        return self._gallery.dim

    @property
    def teacher(self) -> Manifest:
        """The manifest of the encoder that describes it."""
        return self._gallery.teacher

    @property
    def encoders(self) -> EncoderStore:
        """Its encoders; of them, any thread may read the facts."""
        return self._gallery.encoders

    def submit(self, task: Callable[[Gallery], Result]) -> Future[Result]:
        """Queue a task for the owner. Raises Refusal (overloaded) when too many wait already."""
        if not self._places.acquire(blocking=False):
            raise Refusal(
                ProblemKind.OVERLOADED,
                f"Too many requests wait for gallery {self.name!r}. Try again in a second.",
                retry_after=1,
            )
        try:
            future = self._owner.submit(task, self._gallery)
        except BaseException:
            self._places.release()
            raise
        # Released also when a waiting task is cancelled because its client has gone.
        future.add_done_callback(lambda _: self._places.release())
        return future

    def run(self, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on the owner and wait for it; for callers that are no server."""
        return self.submit(task).result()

    def close(self) -> None:
        """Let queued tasks finish, save the index, close the files."""
        self._owner.submit(self._gallery.close).result()
        self._owner.shutdown()


def _set_engine_threads() -> None:
    # FAISS's setting is per calling thread; one core stays free for the event loop.
    import_faiss().omp_set_num_threads(max(1, (os.cpu_count() or 1) - 1))
