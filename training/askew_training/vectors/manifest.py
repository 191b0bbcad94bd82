"""The records in a folder of teacher vectors: the manifest of a complete one, the progress of an incomplete one."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from askew_client.contract.space import SpaceId
from askew_client.files import write_atomically
from askew_training.errors import CacheError

VECTORS = "vectors.bin"
MANIFEST = "manifest.json"
PROGRESS = "progress.json"

READ_AT_ONCE = 1 << 24
"""Bytes of vectors that are read at a time to compute their digest."""


class Dtype(Enum):
    """How a component is stored: half or single precision, little-endian."""

    f16 = "f16"
    f32 = "f32"

    @property
    def numpy(self) -> DTypeLike:
        """The dtype for NumPy."""
        return np.dtype("<f2" if self is Dtype.f16 else "<f4")

    @property
    def size(self) -> int:
        """Bytes of a component."""
        return 2 if self is Dtype.f16 else 4


class Unreadable(BaseModel):
    """A photo without a vector, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    reason: str


class CacheManifest(BaseModel):
    """The manifest of a complete cache. Row i of `vectors.bin` is the vector of the photo `ids[i]`.

    `encoder`, `encoder_sha256`, `photo_size` (longest side in pixels), `scales`, `plan` (a digest of the photos and the
    encoder): None for vectors that were computed elsewhere. `digest`: SHA-256 of `vectors.bin`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    space_id: SpaceId
    encoder: str | None
    encoder_sha256: str | None
    photo_size: int | None
    scales: tuple[float, ...] | None
    plan: str | None
    dim: int = Field(ge=1)
    dtype: Dtype
    count: int = Field(ge=1)
    digest: str
    unreadable: tuple[Unreadable, ...]
    ids: tuple[str, ...]

    @model_validator(mode="after")
    def _ids_fit(self) -> CacheManifest:
        if len(self.ids) != self.count or len(set(self.ids)) != self.count:
            raise ValueError(f"expected {self.count} ids, each once")
        return self

    @property
    def bytes_expected(self) -> int:
        """The length that `vectors.bin` must have."""
        return self.count * self.dim * self.dtype.size


class Progress(BaseModel):
    """The progress of an incomplete cache: of the first `handled` photos, all but the `unreadable` ones have a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: str
    total: int
    handled: int = Field(ge=0)
    unreadable: tuple[Unreadable, ...]

    @property
    def rows(self) -> int:
        """Rows of `vectors.bin` that are known to be complete."""
        return self.handled - len(self.unreadable)


Record = TypeVar("Record", CacheManifest, Progress)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a manifest or a progress record. Raises FileNotFoundError, and CacheError if it is inconsistent."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise CacheError(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CacheError(
            f"{path} is inconsistent ({place + ': ' if place else ''}{first['msg']}). "
            "Make the cache again in another folder."
        ) from None


def write_record(path: Path, record: CacheManifest | Progress) -> None:
    """Write a manifest or a progress record atomically."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_atomically(path, text.encode() + b"\n")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; the file is read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(READ_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()
