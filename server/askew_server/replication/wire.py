"""What travels from a primary to its replicas, and which versions understand each other.

Both run versions of Askew with the same first two numbers, so this is no public interface.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from pydantic import BaseModel, ConfigDict

from askew_client.errors import AskewError
from askew_server.index.types import Labels
from askew_server.replication.record import Epoch, Fence

FORMAT = 1
"""Of the calls below /v1/replication, of what they answer, and of what a replica writes of that: models, facts, checksums.

Whatever of it changes, this number goes up; tests/server/replication/test_versions.py fails until it does.
"""

WHAT_FITS = (
    "A primary and its replicas have the first two numbers of the version and the feed in common, and a pre-release fits "
    "itself alone: upgrade the replicas first, then the primary."
)
_RELEASE = re.compile(r"(\d{1,6})\.(\d{1,6})\.\d{1,6}(?:\.post\d{1,6})?", re.ASCII)

PAGE_TYPE = "application/vnd.askew.changes"
_MAGIC = b"ASKC"
_LENGTH = struct.Struct("<I")


def askew_version() -> str:
    """The version of this server."""
    return version("askew-server")


def is_understood(version: str, feed_format: int) -> bool:
    """Whether a server of another version, with this feed, can be this one's primary or replica."""
    own, other = _RELEASE.fullmatch(askew_version()), _RELEASE.fullmatch(version)
    is_same = version == askew_version()
    return feed_format == FORMAT and (is_same or (own and other and own.groups() == other.groups()) is True)


class BrokenAnswer(AskewError):
    """An answer of a primary that is cut off or damaged; asking again may help."""


class GalleryState(BaseModel):
    """A gallery of the primary. `beside`: the digest of its encoders and probes. `origin`: the gallery whose photos are
    described into this one; None if none are.
    """

    model_config = ConfigDict(frozen=True)

    sequence: int
    beside: str
    created_at: str | None = None
    origin: str | None = None


class KeyRow(BaseModel):
    """A row of the table of keys. `digest`: hex; empty once the key is revoked. `scopes`, `galleries`: JSON text."""

    model_config = ConfigDict(frozen=True)

    id: str
    digest: str
    name: str
    scopes: str
    created_at: str
    galleries: str | None = None
    requests_per_second: float | None = None
    expires_at: str | None = None
    revoked_at: str | None = None


class PrimaryState(BaseModel):
    """Everything of a primary that is not in its galleries, and where these are.

    `run`: names the primary's process: when another one answers, copies are compared with what it has. `unavailable`:
    galleries that exist and cannot be read now. `elsewhere`: galleries whose items are in Milvus; they are not copied. `mark`: names this state, but for `waited`: the seconds
    for which the request waited until there was another state than the one that it named.
    """

    format: int
    version: str
    lineage: str
    run: str
    epochs: list[Epoch]
    galleries: dict[str, GalleryState]
    unavailable: list[str]
    elsewhere: list[str] = []
    aliases: dict[str, str]
    keys: list[KeyRow]
    fence: Fence | None = None
    mark: str = ""
    waited: float = 0.0


class Beside(BaseModel):
    """What a gallery has beside its items. `facts`: of its database. The rows: as its tables have them.

    `probes`: id, vector as hex, photo and date.
    """

    facts: dict[str, str]
    encoders: list[tuple[str, str, str, int, int, str, str | None]]
    retired: list[tuple[str, str, str]]
    defaults: list[tuple[str, str]]
    probes: list[tuple[str, str, str, str]]


class RangeSummary(BaseModel):
    """The items of a range of labels: how many, and the sums of their labels and of their checksums."""

    model_config = ConfigDict(frozen=True)

    count: int
    labels: int
    checksums: int


class Summary(BaseModel):
    """The items with labels up to `through`, by range; `newest`: label and the vector's checksum of the last ones.

    `sequence`: of the gallery when it was read.
    """

    sequence: int
    ranges: dict[int, RangeSummary]
    newest: list[tuple[int, int]]


class LabelList(BaseModel):
    """Label and checksum of the items of one range."""

    rows: list[tuple[int, int]]


@dataclass(frozen=True)
class ItemLine:
    """A row of `items` and the one of `vectors` with its label. `vector`: little-endian float16."""

    label: int
    id: str
    payload: str
    photo: str | None
    checksum: int
    vector: bytes
    vector_checksum: int


@dataclass(frozen=True)
class ChangePage:
    """The items of a gallery that are newer than a sequence number, oldest first.

    `through`: the page covers the changes up to here. `sequence`: of the gallery when it was read. `removed`: labels that
    were removed since a replica was complete; None if that is not known, empty unless the page is the last one.
    """

    through: int
    sequence: int
    rows: list[ItemLine]
    removed: Labels | None

    @property
    def is_last(self) -> bool:
        """Whether a replica that has applied this page has everything."""
        return self.through == self.sequence

    def to_bytes(self) -> bytes:
        """As it travels: a header in JSON, the vectors, and a checksum over both."""
        head = {
            "through": self.through,
            "sequence": self.sequence,
            "removed": None if self.removed is None else self.removed.tolist(),
            "rows": [
                (row.label, row.id, row.payload, row.photo, row.checksum, row.vector_checksum, len(row.vector))
                for row in self.rows
            ],
        }
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
        content = b"".join([_MAGIC, _LENGTH.pack(len(text)), text, *(row.vector for row in self.rows)])
        return content + _LENGTH.pack(zlib.crc32(content))

    @classmethod
    def from_bytes(cls, content: bytes) -> ChangePage:
        """Read a page. Raises BrokenAnswer."""
        if content[: len(_MAGIC)] != _MAGIC or len(content) < 12:
            raise BrokenAnswer("Expected a page of changes, got something else. Is a proxy in between?")
        if _LENGTH.pack(zlib.crc32(content[:-4])) != content[-4:]:
            raise BrokenAnswer("A page of changes arrived cut off or damaged.")
        (length,) = _LENGTH.unpack_from(content, 4)
        head = json.loads(content[8 : 8 + length])
        position, rows = 8 + length, []
        for label, item_id, payload, photo, checksum, vector_checksum, size in head["rows"]:
            vector = content[position : position + size]
            rows.append(ItemLine(label, item_id, payload, photo, checksum, vector, vector_checksum))
            position += size
        removed = head["removed"]
        return cls(
            through=head["through"],
            sequence=head["sequence"],
            rows=rows,
            removed=None if removed is None else np.array(removed, dtype=np.int64),
        )
