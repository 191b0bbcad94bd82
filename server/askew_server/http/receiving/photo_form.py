"""A form with many photos, written to a folder as it arrives: its size costs disk, not memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from io import BufferedWriter
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from askew_client.contract.common import ItemId, Payload
from askew_client.contract.problems import ProblemKind
from askew_client.encoding.photos import MEDIA_TYPE_BYTES, SUFFIX_BY_MEDIA_TYPE, media_type
from askew_client.errors import UnreadablePhoto
from askew_server.errors import Refusal
from askew_server.jobs.describe_photos import SentPhoto

_HEAD_BYTES = 16
_MAX_PART_HEADER_BYTES = 16_384


class FormParts(ABC):
    """Reads multipart/form-data as it arrives, a part at a time, within bounds on what each part costs to read."""

    def __init__(self, content_type: str, expected: str) -> None:
        """`expected`: what the form should hold, for the refusal. Raises Refusal (unsupported-media, validation)."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise Refusal(
                ProblemKind.UNSUPPORTED_MEDIA,
                f"Expected multipart/form-data with {expected}, got {content_type[:80] or 'none'}.",
                {"expected": "multipart/form-data", "received": content_type[:80]},
            )
        self._header = bytearray()
        self._value = bytearray()
        self._header_bytes = 0
        self._disposition = b""
        self._ended = False
        try:
            self._parser = MultipartParser(
                options.get(b"boundary", b""),
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._extend(self._header, data[start:end]),
                    "on_header_value": lambda data, start, end: self._extend(self._value, data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._part_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise _invalid("its boundary is too long") from None
        if not options.get(b"boundary"):
            raise _invalid("its Content-Type names no boundary")

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body. Raises Refusal (validation)."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _invalid(str(error)) from None

    def require_end(self) -> None:
        """Raises Refusal (validation) if the form has not ended yet."""
        if not self._ended:
            raise _invalid("it ends before its last boundary")

    @abstractmethod
    def _open_part(self, name: bytes, file_name: bytes | None) -> None:
        """A part begins. `file_name`: None for a field. Raises Refusal."""

    @abstractmethod
    def _part_data(self, data: bytes, start: int, end: int) -> None:
        """The next piece of the part. Raises Refusal."""

    @abstractmethod
    def _end_part(self) -> None:
        """The part is whole."""

    def _begin_part(self) -> None:
        self._disposition = b""
        self._header_bytes = 0

    def _extend(self, text: bytearray, piece: bytes) -> None:
        # Each header takes some steps of Python, and the whole body could be one.
        self._header_bytes += len(piece) + 1
        if self._header_bytes > _MAX_PART_HEADER_BYTES:
            raise _invalid(f"a part has more than {_MAX_PART_HEADER_BYTES} bytes of headers")
        text.extend(piece)

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._open_part(options.get(b"name", b""), options.get(b"filename"))

    def _end(self) -> None:
        self._ended = True


class PhotoForm(FormParts):
    """Files named `photo`, whose file names are item ids, and an optional field `payloads`: a JSON object by id."""

    def __init__(self, folder: Path, content_type: str, *, max_photos: int, max_payloads_bytes: int) -> None:
        """Write into `folder`. Raises Refusal (unsupported-media, validation)."""
        super().__init__(content_type, "files `photo`")
        self._folder = folder
        self._max_photos = max_photos
        self._max_payloads_bytes = max_payloads_bytes
        self._file: BufferedWriter | None = None
        self._payloads: bytearray | None = None
        self._in_payloads = False
        self._ids: dict[str, Path] = {}

    def finish(self) -> list[SentPhoto]:
        """The photos, in their order; they are on the disk. Raises Refusal (validation)."""
        self.require_end()
        if not self._ids:
            raise Refusal(ProblemKind.VALIDATION, "Expected at least one file `photo` in the form, got none.")
        payloads = self._read_payloads()
        return [_sent(identity, path, payloads.get(identity, {})) for identity, path in self._ids.items()]

    def close(self) -> None:
        """Close the open file, when the form ended early."""
        if self._file is not None:
            self._file.close()

    def _open_part(self, name: bytes, file_name: bytes | None) -> None:
        self._file, self._in_payloads = None, False
        if name == b"photo" and file_name is not None:
            self._file = self._open_photo(file_name)
        elif name == b"payloads" and file_name is None and self._payloads is None:
            self._in_payloads = True
            self._payloads = bytearray()
        else:
            shown = name.decode("utf-8", "replace")[:80]
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Expected files `photo` and at most one field `payloads` in the form, got {shown!r}. A photo's file name "
                "is its item's id.",
            )

    def _open_photo(self, file_name: bytes) -> BufferedWriter:
        try:
            # Browsers and httpx escape a quote in a file name this way, and nothing else.
            identity = TypeAdapter(ItemId).validate_python(file_name.decode().replace("%22", '"'))
        except (UnicodeDecodeError, ValidationError):
            shown = file_name.decode("utf-8", "replace")[:80]
            raise Refusal(
                ProblemKind.VALIDATION,
                f"A photo's file name is its item's id: 1 to 512 characters, no control characters; got {shown!r}.",
            ) from None
        if identity in self._ids:
            raise Refusal(ProblemKind.VALIDATION, f"Two photos of the form have the id {identity[:80]!r}.")
        if len(self._ids) == self._max_photos:
            raise Refusal(
                ProblemKind.PAYLOAD_TOO_LARGE,
                f"Expected at most {self._max_photos} photos in one form, got more. Send them in several.",
                {"limit": self._max_photos},
            )
        path = self._folder / f"{len(self._ids):08d}"
        self._ids[identity] = path
        return path.open("wb")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._in_payloads and self._payloads is not None:
            self._payloads += data[start:end]
            if len(self._payloads) > self._max_payloads_bytes:
                raise Refusal(
                    ProblemKind.PAYLOAD_TOO_LARGE,
                    f"Expected at most {self._max_payloads_bytes} bytes of payloads, got more. Send fewer photos.",
                    {"limit": self._max_payloads_bytes},
                )

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _read_payloads(self) -> dict[str, Payload]:
        if self._payloads is None:
            return {}
        payloads = TypeAdapter(dict[str, Payload]).validate_json(bytes(self._payloads))
        unknown = sorted(set(payloads) - set(self._ids))
        if unknown:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"The payloads name {len(unknown)} ids without a photo in the form, such as {unknown[0][:80]!r}.",
            )
        return payloads


def _sent(identity: str, path: Path, payload: Payload) -> SentPhoto:
    with path.open("rb") as stream:
        head = stream.read(MEDIA_TYPE_BYTES)
    try:
        return SentPhoto(identity, path.name, SUFFIX_BY_MEDIA_TYPE[media_type(head)], payload)
    except UnreadablePhoto as error:
        path.unlink()
        return SentPhoto(identity, path.name, "", payload, refused=str(error))


def _invalid(reason: str) -> Refusal:
    return Refusal(ProblemKind.VALIDATION, f"The body is not valid multipart/form-data: {reason[:200]}.")
