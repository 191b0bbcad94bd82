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
from askew_server.describing import Describer
from askew_server.errors import Refusal
from askew_server.galleries import Galleries
from askew_server.gallery import Gallery
from askew_server.owned import OwnedGallery
from askew_server.settings import Settings

Result = TypeVar("Result")


class Service:
    """The running server's parts. `state` is loading, ok or draining; `failure` the sentence why it never loaded."""

    def __init__(self, settings: Settings, galleries: Galleries) -> None:
        self.settings = settings
        self.galleries = galleries
        self.describer = Describer(max_waiting=settings.max_waiting_photos, max_pixels=settings.max_photo_pixels)
        self.version = version("askew-server")
        self.state: Literal["loading", "ok", "draining"] = "loading"
        self.failure: str | None = None

    async def load(self) -> None:
        """Open the galleries; afterwards the server is ready, or knows why not."""
        try:
            await asyncio.to_thread(self.galleries.load)
            self.state = "ok"
        except AskewError as error:
            self.failure = str(error)
            logging.getLogger("askew.server").critical("%s", error)
        # A server that loads for ever is worse than one that says it cannot.
        except Exception:
            self.failure = "The galleries could not be opened; the server's log says why."
            logging.getLogger("askew.server").critical("the galleries could not be opened", exc_info=True)

    async def close(self) -> None:
        """Finish what was accepted, then close everything."""
        self.state = "draining"
        await asyncio.to_thread(self.describer.close)
        await asyncio.to_thread(self.galleries.close)

    def gallery(self, name: str | None) -> OwnedGallery:
        """A gallery by name, the default one for None. Raises Refusal (not-ready, unknown-gallery)."""
        self.require_ready()
        return self.galleries.get(name or self.settings.default_gallery)

    async def get_or_create_gallery(self, name: str, teacher: Manifest) -> tuple[OwnedGallery, bool]:
        """A gallery in the teacher's space, and whether it was made now. Raises Refusal (gallery-conflict)."""
        return await asyncio.to_thread(self.galleries.get_or_create, name, teacher)

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
        admitted = await self.run(gallery, Gallery.admitted_encoders)
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

    def check_encoder(self, gallery: OwnedGallery, encoder: str | None, admitted: list[str]) -> None:
        """Refuse a query that names an encoder which this gallery has not admitted."""
        if encoder is None or encoder in admitted:
            return
        raise Refusal(
            ProblemKind.ENCODER_NOT_ADMITTED,
            f"The query names encoder {encoder[:140]!r}, which gallery {gallery.name!r} has not admitted. "
            f"Admit it with `askew admit`, or use one of: {', '.join(admitted)}.",
            {"received": encoder[:140], "admitted_encoders": admitted},
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
