"""The state of the running server that routes need: galleries, jobs, keys, metrics, and whether it is ready."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import Depends, Request
from numpy.typing import NDArray
from starlette.types import Receive

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.encoders.describer import MOST_CHILDREN, Describer, refusal_of
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.item_changes import ItemChanges
from askew_server.gallery.live import LiveGallery
from askew_server.http.concurrency import SlowWork, wait_for_thread, while_connected
from askew_server.http.context import context_of
from askew_server.http.pages.page_files import PageFiles
from askew_server.http.start_warnings import StartWarning, start_warnings
from askew_server.jobs.change_teacher import ChangeTeacherJob
from askew_server.jobs.describe_photos import PhotosJob
from askew_server.jobs.offline_pack import OfflinePackJob, OfflinePacks
from askew_server.jobs.queue import JobQueue
from askew_server.jobs.rebuild_index import RebuildJob
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.jobs.snapshots import RestoreJob, SnapshotJob, VerifySnapshotJob
from askew_server.observability.metrics import Metrics
from askew_server.processes import ChildLost, ChildStopped, LimitExceeded, Limits
from askew_server.replication.record import Fence
from askew_server.replication.service import Replication
from askew_server.replication.source import check_address
from askew_server.replication.writes import WritesUnderWay
from askew_server.settings import Settings

MOST_CHECKED = 3
"""Uploaded encoder files that are checked at once. Each takes a core, and its file is in memory."""
_TOO_MANY_CHECKED = f"{MOST_CHECKED} encoder files or probes are being checked already. Try again in 10 seconds."
_TOO_MANY_RECEIVED = "Too many uploads are being received at once. Try again in 10 seconds."
_TOO_MANY_PARSED = "Too many large bodies are being read at once. Try again in 10 seconds."
_TOO_MANY_FILES = "Too many files are being read at once. Try again in 10 seconds."
_TOO_MANY_REPLICAS = "Too many replicas are being answered at once. Try again in 10 seconds."
_SECONDS_FOR_WRITES = 10.0
"""That a server which makes way waits for changes under way; a later one is refused instead of acknowledged."""
_TOO_MANY_MADE = "Too many galleries are being created and deleted at once. Try again in 10 seconds."


class AppState:
    """The parts of the running server. `state`: loading, ok or draining. `failure`: why it never loaded, a sentence.

    `certificate_expires`: when the certificate in use does, in seconds since 1970; None without TLS.
    """

    def __init__(self, settings: Settings, galleries: Catalog, *, data_was_empty: bool = False) -> None:
        self.settings = settings
        self.galleries = galleries
        self.keys = KeyStore(settings.data)
        try:
            self.replication = Replication(
                settings.data,
                galleries,
                self.keys,
                follow=None if settings.follow is None else check_address(settings.follow),
                key_file=settings.follow_key_file,
            )
            if self.replication.standing.follow is not None and settings.follow_key_file is not None:
                # The primary has keys, and so will this server: nobody is to read its galleries before they are here.
                self.keys.ask_for_keys()
        except BaseException:
            self.keys.close()
            raise
        self.writes = WritesUnderWay()
        self.certificate_expires: float | None = None
        pixels = settings.max_photo_pixels
        photo_limits = Limits(settings.photo_seconds, settings.photo_processor_seconds, settings.photo_memory_bytes)
        self.check_limits = Limits(
            settings.check_seconds, settings.check_processor_seconds, settings.photo_memory_bytes
        )
        self.describer = Describer(
            max_waiting=settings.max_waiting_photos,
            max_pixels=pixels,
            limits=photo_limits,
            most_children=MOST_CHILDREN,
        )
        self.checking = SlowWork("check", threads=MOST_CHECKED, places=MOST_CHECKED, busy=_TOO_MANY_CHECKED)
        self.receiving = SlowWork("receive", threads=4, places=4_096, busy=_TOO_MANY_RECEIVED)
        self.parsing = SlowWork("parse", threads=2, places=4_096, busy=_TOO_MANY_PARSED)
        self.files = SlowWork("files", threads=4, places=4_096, busy=_TOO_MANY_FILES)
        self.feeding = SlowWork("feed", threads=4, places=256, busy=_TOO_MANY_REPLICAS)
        self.making = SlowWork("make", threads=2, places=64, busy=_TOO_MANY_MADE)
        self.jobs = JobQueue(settings.data, max_jobs=settings.max_jobs)
        self.photos_job = PhotosJob(galleries, max_pixels=pixels, limits=photo_limits)
        self.redescribe_job = RedescribeJob(galleries, max_pixels=pixels, limits=photo_limits)
        self.change_teacher_job = ChangeTeacherJob(
            galleries, self.redescribe_job, max_pixels=pixels, limits=photo_limits
        )
        describing_jobs = (self.photos_job, self.redescribe_job, self.change_teacher_job)
        snapshot_jobs = (SnapshotJob(galleries), VerifySnapshotJob(galleries), RestoreJob(galleries))
        making_limits = Limits(seconds=settings.build_seconds)
        pack_job = OfflinePackJob(galleries, max_pixels=pixels, limits=making_limits, photo_limits=photo_limits)
        for kind in (*describing_jobs, *snapshot_jobs, RebuildJob(galleries), pack_job):
            self.jobs.register(kind)
        self.offline_packs = OfflinePacks(galleries, self.jobs)
        self.page_files = PageFiles()
        self.version = version("askew-server")
        self.metrics = Metrics(self.version)
        self.state: Literal["loading", "ok", "draining"] = "loading"
        self.failure: str | None = None
        self.is_leaving = False
        self._data_was_empty = data_was_empty

    async def load(self) -> None:
        """Open the galleries; afterwards the server is ready, or knows why not."""
        if self.keys.lost is not None and self.replication.progress is None:
            logging.getLogger("askew.server").critical("%s", self.keys.lost)
        try:
            await asyncio.to_thread(self.galleries.load)
            # A job changes galleries, which a replica must not.
            works = self.replication.standing.refusal() is None
            await asyncio.to_thread(lambda: self.jobs.start(works=works))
            self.state = "ok"
            await asyncio.to_thread(self.replication.start, self.jobs.work)
            for warning in self.warnings():
                logging.getLogger("askew.server").warning("%s", warning.detail)
        except AskewError as error:
            self.failure = str(error)
            logging.getLogger("askew.server").critical("%s", error)
        # A server that reports its failure is better than one that loads for ever.
        except Exception:
            self.failure = "The galleries could not be opened; the server's log says why."
            logging.getLogger("askew.server").critical("the galleries could not be opened", exc_info=True)

    def warnings(self) -> list[StartWarning]:
        """What is probably a mistake in how this server was started, as long as it holds."""
        progress = self.replication.progress
        if progress is not None and progress.complete_at is None:
            # Its galleries are on their way.
            return []
        return start_warnings(self.settings, self.galleries, data_was_empty=self._data_was_empty)

    def leave(self) -> None:
        """Report not-ready from now on. Requests are still served until close()."""
        self.is_leaving = True

    async def close(self) -> None:
        """Finish what was accepted, then close everything."""
        self.state = "draining"
        for pool in (self.checking, self.making, self.receiving, self.parsing, self.files, self.feeding):
            pool.close()
        await asyncio.to_thread(self.replication.close)
        # Requests had their time: what is still described now, nobody waits for.
        await asyncio.to_thread(self.describer.close)
        await asyncio.to_thread(self.jobs.close)
        self.keys.close()
        await asyncio.to_thread(self.galleries.close)

    def gallery(self, name: str | None) -> LiveGallery:
        """A gallery by name, the default one for None. Raises Refusal (not-ready, unknown-gallery)."""
        self.require_ready()
        return self.galleries.get(name or self.settings.default_gallery)

    def existing_gallery(self, name: str) -> str | None:
        """The name of a gallery, for logs and metrics; None if it is not open."""
        try:
            return self.gallery(name).name
        except Refusal:
            return None

    def require_staying(self) -> None:
        """Raise Refusal (not-ready) while the server is loading, or once it drains."""
        self.require_ready()
        if self.is_leaving:
            raise Refusal(
                ProblemKind.NOT_READY, "The server is draining. Use another one, or try again later.", retry_after=1
            )

    def make_way(self, fence: Fence, lineage: str) -> None:
        """Take no more changes, as another server, of this lineage, is the primary. Returns once none is under way. Raises Refusal."""
        self.replication.supersede(fence, lineage)
        self._end_jobs_if_superseded()
        self.writes.wait(_SECONDS_FOR_WRITES)
        # The new primary copies the last changes now, and asks once.
        self.replication.feed.look_again()

    def check_replica(self, version: str, feed_format: int, lineage: str, epoch: int, token: str) -> None:
        """See Feed.check. A server that makes way because of it takes no more changes, from jobs neither."""
        try:
            self.replication.feed.check(version, feed_format, lineage, epoch, token)
        except Refusal:
            self._end_jobs_if_superseded()
            raise

    def _end_jobs_if_superseded(self) -> None:
        # Those of a replica have not begun: they do, should it be promoted.
        if self.replication.standing.fence is not None:
            self.jobs.pause()

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the galleries are being opened, or could not be."""
        if self.state != "ok":
            detail = self.failure or f"The server is {self.state}. Try again in a second."
            raise Refusal(ProblemKind.NOT_READY, detail, retry_after=1)

    async def describe(self, encoder: Path, photo: bytes, receive: Receive) -> NDArray[np.float32]:
        """Describe a photo in a child process: float32 [D], unit length.

        `receive`: of the request, whose whole body has arrived; a client that leaves ends the work. Raises PhotoError,
        EncoderError, Refusal (overloaded; not-ready once the server drains), ClientDisconnect.
        """
        try:
            return await while_connected(receive, wait_for_thread(self.describer.describe(encoder, photo)))
        except (LimitExceeded, ChildLost) as error:
            raise refusal_of(error) from None
        except ChildStopped:
            raise Refusal(
                ProblemKind.NOT_READY, "The server is draining. Use another one, or try again later.", retry_after=1
            ) from None


def get_state(request: Request) -> AppState:
    """The state of the running app."""
    state = request.app.state.askew
    assert isinstance(state, AppState)
    return state


async def _gallery_of(request: Request, gallery: str | None = None) -> LiveGallery:
    # The parameter is for the OpenAPI document: which gallery a request means was decided when it was matched.
    return get_state(request).gallery(context_of(request.scope).match.gallery)


InState = Annotated[AppState, Depends(get_state)]
InGallery = Annotated[LiveGallery, Depends(_gallery_of)]


async def _changes_of(request: Request, gallery: InGallery) -> ItemChanges:
    state = get_state(request)
    name = context_of(request.scope).match.named or state.settings.default_gallery
    changes = ItemChanges(gallery, name, state.galleries.resolve)
    # Here as well, so that nothing is received and described in vain.
    changes.check()
    return changes


InChanges = Annotated[ItemChanges, Depends(_changes_of)]
