"""Bodies of requests as dependencies of routes. The OpenAPI document is made from what they declare."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel

from askew_client.contract.galleries import CreateGalleryRequest
from askew_client.contract.items import RawUpsertHeader, UpsertRequest
from askew_client.contract.problems import ProblemKind
from askew_client.contract.snapshots import RestoreRequest
from askew_server.errors import Refusal
from askew_server.http.concurrency import run_off_loop
from askew_server.http.receiving.item_bodies import RAW_ITEMS, JsonItems, RawItems, ReceivedItems

JSON = "application/json"
RAW_VECTOR = "application/octet-stream"
ENCODER_FILE = "application/octet-stream"
SNAPSHOT_TYPE = "application/x-tar"
BINARY: dict[str, Any] = {"type": "string", "format": "binary"}

Model = TypeVar("Model", bound=BaseModel)
Schema = type[BaseModel] | dict[str, Any]
"""A model, or a JSON schema for what has none."""


class DeclaredBody:
    """A body that a route takes as a dependency. `content`: what may come, by media type."""

    is_required = True

    def __init__(self, content: Mapping[str, Schema], *models: type[BaseModel]) -> None:
        """`models`: further ones that the document explains, such as a header inside a binary body."""
        self.content = content
        self.models = models


class JsonBody(DeclaredBody, Generic[Model]):
    """A JSON body as a model. Raises Refusal (unsupported-media), ValidationError."""

    def __init__(
        self, model: type[Model], *, raw: str | None = None, checks_type: bool = True, is_required: bool = True
    ) -> None:
        """`raw`: a binary media type that the same path takes, answered elsewhere. `checks_type`: refuse other types.

        `is_required`: False if no body at all means the model with its defaults.
        """
        super().__init__({JSON: model} | ({} if raw is None else {raw: BINARY}))
        self._model = model
        self._expected = " or ".join(self.content)
        self._checks_type = checks_type
        self.is_required = is_required

    async def __call__(self, request: Request) -> Model:
        """Read it; a large one is parsed in a thread. `request.state.reading_began`: when that began."""
        request.state.reading_began = time.perf_counter()
        if not self.is_required and not await request.body():
            return self._model()
        received = media_type_of(request)
        if self._checks_type and received != JSON:
            raise unsupported_media(received, self._expected)
        body = await request.body()
        return await run_off_loop(request, len(body), lambda: self._model.model_validate_json(body, strict=True))


class EncoderBody(DeclaredBody):
    """An encoder file, whole."""

    def __init__(self) -> None:
        super().__init__({ENCODER_FILE: BINARY})

    async def __call__(self, request: Request) -> bytes:
        """Read it."""
        return await request.body()


class TeacherBody(DeclaredBody):
    """A teacher: its encoder file, or only its manifest. Raises ValidationError."""

    def __init__(self) -> None:
        super().__init__({ENCODER_FILE: BINARY, JSON: CreateGalleryRequest})

    async def __call__(self, request: Request) -> bytes | CreateGalleryRequest:
        """Read it."""
        body = await request.body()
        if media_type_of(request) != JSON:
            return body
        return await run_off_loop(
            request, len(body), lambda: CreateGalleryRequest.model_validate_json(body, strict=True)
        )


class ItemsBody(DeclaredBody):
    """Items to store, in JSON or raw. Raises Refusal (unsupported-media, validation), ValidationError."""

    def __init__(self) -> None:
        super().__init__({JSON: UpsertRequest, RAW_ITEMS: BINARY}, RawUpsertHeader)

    async def __call__(self, request: Request) -> ReceivedItems:
        """Read it; a large one is parsed in a thread."""
        received = media_type_of(request)
        if received not in self.content:
            raise unsupported_media(received, " or ".join(self.content))
        read = JsonItems if received == JSON else RawItems
        body = await request.body()
        return await run_off_loop(request, len(body), lambda: read(body))


class SnapshotBody(DeclaredBody):
    """The source of a restore: a snapshot that a gallery has (JSON), or a snapshot file."""

    def __init__(self) -> None:
        super().__init__({JSON: RestoreRequest, SNAPSHOT_TYPE: BINARY})

    async def __call__(self, request: Request) -> RestoreRequest | AsyncIterator[bytes]:
        """Read a request; a file comes in pieces. Raises Refusal (unsupported-media), ValidationError."""
        received = media_type_of(request)
        if received == JSON:
            body = await request.body()
            return await run_off_loop(request, len(body), lambda: RestoreRequest.model_validate_json(body, strict=True))
        if received != SNAPSHOT_TYPE:
            raise unsupported_media(received, f"{SNAPSHOT_TYPE} (a snapshot file) or {JSON} (that names one)")
        return request.stream()


def media_type_of(request: Request) -> str:
    """The media type of a request's body, without its parameters; empty if none is stated."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported_media(received: str, expected: str) -> Refusal:
    """The refusal of a body of another type."""
    return Refusal(
        ProblemKind.UNSUPPORTED_MEDIA,
        f"Expected a body of type {expected}, got {received[:80] or 'none'}.",
        {"expected": expected, "received": received[:80]},
    )
