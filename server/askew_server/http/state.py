"""What every route needs: the galleries, the describing child, the settings, and whether the server is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from fastapi import Depends, Request
from numpy.typing import NDArray

from askew_client.contract.manifest import Manifest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.space import is_space_id
from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.encoders.describer import Describer
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Galleries
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import OwnedGallery
from askew_server.jobs.describe_photos import PhotosJob
from askew_server.jobs.queue import Jobs
from askew_server.jobs.rebuild_index import RebuildJob
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.jobs.snapshots import RestoreJob, SnapshotJob, VerifySnapshotJob
from askew_server.observability.metrics import Metrics
from askew_server.settings import Settings

Result = TypeVar("Result")


class Service:
    """The running server's parts. `state` is loading, ok or draining; `failure` the sentence why it never loaded."""

    def __init__(self, settings: Settings, galleries: Galleries) -> None:
        self.settings = settings
        self.galleries = galleries
        self.keys = KeyStore(settings.data)
        self.describer = Describer(max_waiting=settings.max_waiting_photos, max_pixels=settings.max_photo_pixels)
        self.jobs = Jobs(settings.data, max_jobs=settings.max_jobs)
        self.photos_job = PhotosJob(galleries, max_pixels=settings.max_photo_pixels)
        self.redescribe_job = RedescribeJob(galleries, max_pixels=settings.max_photo_pixels)
        snapshot_jobs = (SnapshotJob(galleries), VerifySnapshotJob(galleries), RestoreJob(galleries))
        for kind in (self.photos_job, self.redescribe_job, *snapshot_jobs, RebuildJob(galleries)):
            self.jobs.register(kind)
        self.version = version("askew-server")
        self.metrics = Metrics(self.version)
        self.state: Literal["loading", "ok", "draining"] = "loading"
        self.failure: str | None = None
        self.is_leaving = False

    async def load(self) -> None:
        """Open the galleries; afterwards the server is ready, or knows why not."""
        try:
            await asyncio.to_thread(self.galleries.load)
            await asyncio.to_thread(self.jobs.start)
            self.state = "ok"
        except AskewError as error:
            self.failure = str(error)
            logging.getLogger("askew.server").critical("%s", error)
        # A server that loads for ever is worse than one that says it cannot.
        except Exception:
            self.failure = "The galleries could not be opened; the server's log says why."
            logging.getLogger("askew.server").critical("the galleries could not be opened", exc_info=True)

    def leave(self) -> None:
        """Say to whoever asks for readiness that the server goes; it answers on until it is closed."""
        self.is_leaving = True

    async def close(self) -> None:
        """Finish what was accepted, then close everything."""
        self.state = "draining"
        await asyncio.to_thread(self.jobs.close)
        await asyncio.to_thread(self.describer.close)
        self.keys.close()
        await asyncio.to_thread(self.galleries.close)

    def gallery(self, name: str | None) -> OwnedGallery:
        """A gallery by name, the default one for None. Raises Refusal (not-ready, unknown-gallery)."""
        self.require_ready()
        return self.galleries.get(name or self.settings.default_gallery)

    def known_name(self, name: str | None) -> str | None:
        """The name of the gallery that a request means, for logs and metrics; None where there is none."""
        try:
            return self.gallery(name).name
        except Refusal:
            return None

    async def get_or_create_gallery(self, name: str, teacher: Manifest) -> tuple[OwnedGallery, bool]:
        """A gallery in the teacher's space, and whether it was made now. Raises Refusal (gallery-conflict)."""
        return await asyncio.to_thread(self.galleries.get_or_create, name, teacher)

    async def delete_gallery(self, name: str) -> str:
        """Delete a gallery; its name. Raises Refusal (gallery-in-use, unknown-gallery)."""
        self.require_ready()
        resolved = self.galleries.resolve(name)
        is_damaged = resolved in self.galleries.damaged()
        if resolved == self.galleries.resolve(self.settings.default_gallery) and not is_damaged:
            raise Refusal(
                ProblemKind.GALLERY_IN_USE,
                f"Gallery {resolved!r} is the one that POST /search answers from. Start the server with another --gallery, "
                "or an alias there that names another one, first.",
            )
        jobs = self.jobs.unfinished_of(resolved)
        if jobs:
            raise Refusal(
                ProblemKind.GALLERY_IN_USE,
                f"Job {jobs[0]} works on gallery {resolved!r}. Wait for it, or cancel it (POST /v1/jobs/{jobs[0]}/cancel).",
                {"jobs": list(jobs)},
            )
        return await asyncio.to_thread(self.galleries.delete, resolved)

    def require_staying(self) -> None:
        """Raise Refusal (not-ready) unless the server answers, and will go on to."""
        self.require_ready()
        if self.is_leaving:
            raise Refusal(
                ProblemKind.NOT_READY, "The server is draining. Ask another one, or this one later.", retry_after=1
            )

    def require_ready(self) -> None:
        """Raise Refusal (not-ready) while the galleries are being opened, or could not be."""
        if self.state != "ok":
            detail = self.failure or f"The server is {self.state}. Try again in a second."
            raise Refusal(ProblemKind.NOT_READY, detail, retry_after=1)

    async def run(self, gallery: OwnedGallery, task: Callable[[Gallery], Result]) -> Result:
        """Run a task on a gallery's own thread."""
        return await finished(gallery.submit(task))

    async def describe(self, encoder: Path, photo: bytes) -> NDArray[np.float32]:
        """Describe a photo in the child process: float32 [D], unit length.

        Raises PhotoError, or Refusal (overloaded; not-ready when the child was killed meanwhile: the next one starts).
        """
        try:
            return await finished(self.describer.describe(encoder, photo))
        except BrokenProcessPool:
            raise Refusal(
                ProblemKind.NOT_READY,
                "The process that describes photos ended while it was at work. A new one starts; send the photo again.",
                retry_after=1,
            ) from None

    async def check_space(self, gallery: OwnedGallery, space: str | None) -> None:
        """Refuse a vector of another space, or, unless the server was started to allow it, of none."""
        if space == gallery.space:
            return
        if space is None:
            if self.settings.allow_missing_space:
                return
            raise Refusal(
                ProblemKind.SPACE_MISSING,
                f"Expected the space that the vector lies in ({gallery.space} for gallery {gallery.name!r}), but none was "
                "named. Send the encoder's space_id as `space` or in the header Askew-Space.",
                {"expected": gallery.space},
            )
        admitted = gallery.encoders.facts.admitted
        form = "" if is_space_id(space) else " (which is no space id at all)"
        raise Refusal(
            ProblemKind.SPACE_MISMATCH,
            f"Gallery {gallery.name!r} lies in space {gallery.space}, the vector comes from {space[:80]}{form}. "
            f"Describe the photo with one of the admitted encoders: {', '.join(admitted)}.",
            {
                "expected": gallery.space,
                "received": space[:80],
                "admitted_encoders": admitted,
                "hint": "GET /v1/encoders lists the admitted encoders with their files.",
            },
        )


async def finished(future: Future[Result]) -> Result:
    """Wait for a task of another thread or process; a request that ends cancels it if it has not begun."""
    return await asyncio.wrap_future(future)


def get_service(request: Request) -> Service:
    """The service of the running app."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


InService = Annotated[Service, Depends(get_service)]
