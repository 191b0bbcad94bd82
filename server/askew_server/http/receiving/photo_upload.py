"""One photo in a request: as it is, or in a form with what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter

from askew_client.contract.common import Payload
from askew_client.contract.problems import ProblemKind
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type
from askew_server.errors import Refusal
from askew_server.http.concurrency import run_off_loop
from askew_server.http.receiving.bodies import BINARY, DeclaredBody, media_type_of, unsupported_media
from askew_server.http.receiving.photo_form import FormParts

FORM = "multipart/form-data"
_EXPECTED = f"{', '.join(SUFFIX_BY_MEDIA_TYPE)} (a photo) or {FORM}"
_MAX_FORM_PARTS = 8
_MAX_PART_BYTES = 1_000_000
_FIELDS: dict[str, dict[str, Any]] = {
    "photo": BINARY,
    "payload": {"type": "string", "description": "JSON object"},
    "vector": {"type": "string", "description": "base64 of the raw vector; described by the server if absent"},
    "dtype": {"type": "string", "enum": ["f16le", "f32le"]},
    "space": {"type": "string"},
}


@dataclass(frozen=True)
class PhotoUpload:
    """A photo file's bytes, the suffix of its format, and, of a form, its other fields."""

    photo: bytes
    suffix: str
    is_form: bool = False
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def has_vector(self) -> bool:
        """Whether the photo was described already."""
        return "vector" in self.fields


class PhotoUploadBody(DeclaredBody):
    """A photo, or a form with a file `photo`. Raises Refusal (unsupported-media, validation), UnreadablePhoto."""

    def __init__(self, *, with_payload: bool) -> None:
        """`with_payload`: whether the form may hold a payload."""
        fields = {name: schema for name, schema in _FIELDS.items() if with_payload or name != "payload"}
        form = {"type": "object", "required": ["photo"], "properties": fields}
        super().__init__({**dict.fromkeys(SUFFIX_BY_MEDIA_TYPE, BINARY), FORM: form})

    async def __call__(self, request: Request) -> PhotoUpload:
        """Read it."""
        received = media_type_of(request)
        if received == FORM:
            return await _read_form(request)
        if not received.startswith("image/"):
            raise unsupported_media(received, _EXPECTED)
        return _upload(await request.body())


class QueryPhotoBody(DeclaredBody):
    """A photo to search with; its media type is not looked at. Raises UnreadablePhoto."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(SUFFIX_BY_MEDIA_TYPE, BINARY))

    async def __call__(self, request: Request) -> PhotoUpload:
        """Read it."""
        return _upload(await request.body())


class PhotoFormStream(DeclaredBody):
    """A form with many photos, which its route reads as it arrives."""

    def __init__(self) -> None:
        photos = {"type": "array", "items": BINARY, "description": "photos; the file name of each is its item's id"}
        payloads = {"type": "string", "description": "JSON object: the payload of each id"}
        form = {"type": "object", "required": ["photo"], "properties": {"photo": photos, "payloads": payloads}}
        super().__init__({FORM: form})

    async def __call__(self, request: Request) -> Request:
        """The request, unread."""
        return request


def read_payload(text: str | None) -> Payload:
    """A payload as JSON text; empty if there is none. Raises ValidationError."""
    return {} if text is None else TypeAdapter(Payload).validate_json(text)


async def _read_form(request: Request) -> PhotoUpload:
    content_type, body = request.headers.get("content-type", ""), await request.body()

    def read() -> PhotoUpload:
        form = _SmallForm(content_type)
        form.write(body)
        form.require_end()
        photo = form.files.get("photo")
        if photo is None:
            raise Refusal(ProblemKind.VALIDATION, "Expected the form to have a file `photo`.")
        return replace(_upload(bytes(photo)), is_form=True, fields=form.fields())

    return await run_off_loop(request, len(body), read)


class _SmallForm(FormParts):
    """A form in memory: its files by their fields' names, and its other fields."""

    def __init__(self, content_type: str) -> None:
        """Raises Refusal (unsupported-media, validation)."""
        super().__init__(content_type, "a file `photo`")
        self.files: dict[str, bytearray] = {}
        self._texts: dict[str, bytearray] = {}
        self._part = bytearray()
        self._is_file = False
        self._parts = 0

    def fields(self) -> dict[str, str]:
        """The fields that are no files, by name. Raises Refusal (validation)."""
        try:
            return {name: text.decode() for name, text in self._texts.items()}
        except UnicodeDecodeError:
            raise Refusal(
                ProblemKind.VALIDATION, "Expected the fields of the form as UTF-8, got other bytes."
            ) from None

    def _open_part(self, name: bytes, file_name: bytes | None) -> None:
        self._parts += 1
        if self._parts > _MAX_FORM_PARTS:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Expected a form of at most {_MAX_FORM_PARTS} fields, got more. Send one photo.",
            )
        self._part = bytearray()
        self._is_file = file_name is not None
        parts = self.files if self._is_file else self._texts
        parts[name.decode("utf-8", "replace")] = self._part

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._part += data[start:end]
        if not self._is_file and len(self._part) > _MAX_PART_BYTES:
            raise Refusal(
                ProblemKind.PAYLOAD_TOO_LARGE,
                f"Expected fields of at most {_MAX_PART_BYTES} bytes beside the photo, got more. Send a smaller payload.",
                {"limit": _MAX_PART_BYTES},
            )

    def _end_part(self) -> None:
        """What follows is no part of it."""


def _upload(photo: bytes) -> PhotoUpload:
    return PhotoUpload(photo, SUFFIX_BY_MEDIA_TYPE[media_type(photo)])
