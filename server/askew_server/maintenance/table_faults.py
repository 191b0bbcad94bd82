"""What is wrong with the rows of a gallery's tables other than items: encoders and probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import ItemId
from askew_client.contract.encoders import AdmissionReport, Runtime
from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import NORM_TOLERANCE
from askew_server.storage.photos import is_photo_name
from askew_server.storage.sqlite import Database

_SHA256 = re.compile("[0-9a-f]{64}")


def table_faults(database: Database, space: str, dim: int) -> Iterator[str]:
    """A clause for each row of the encoders and probes that this Askew could not have written. Raises DatabaseError."""
    identities = set()
    if database.has_table("encoders"):
        columns = "id, sha256, manifest, size, has_file, admitted_at, report"
        for row in database.each(f"SELECT {columns} FROM encoders ORDER BY id"):
            identities.add(row[0])
            yield from _named(f"encoder {str(row[0])[:80]!r}", _encoder_fault(row, space))
    if database.has_table("retired_encoders"):
        for identity, sha256, retired_at in database.each("SELECT id, sha256, retired_at FROM retired_encoders"):
            fault = None if _is_sha256(sha256) else "has no SHA-256"
            yield from _named(f"retired encoder {str(identity)[:80]!r}", fault or _date_fault(retired_at))
    if database.has_table("default_encoders"):
        for runtime, identity in database.each("SELECT runtime, id FROM default_encoders"):
            is_known = runtime in get_args(Runtime) and identity in identities
            fault = (
                None if is_known else f"is for {str(runtime)[:20]!r} and of an encoder that is not there, or of none"
            )
            yield from _named(f"default encoder {str(identity)[:80]!r}", fault)
    if database.has_table("probes"):
        for probe in database.each("SELECT id, vector, photo, added_at FROM probes ORDER BY id"):
            yield from _named(f"probe {str(probe[0])[:80]!r}", _probe_fault(probe, dim))


def _named(what: str, fault: str | None) -> Iterator[str]:
    if fault is not None:
        yield f"{what} {fault}"


def _encoder_fault(row: tuple[object, ...], space: str) -> str | None:
    identity, sha256, text, size, has_file, admitted_at, report = row
    try:
        manifest = Manifest.model_validate_json(str(text))
        if report is not None:
            AdmissionReport.model_validate_json(str(report))
    except ValidationError as error:
        return f"has a manifest or a report that is not valid ({error.errors()[0]['msg'][:120]})"
    if manifest.encoder_id != identity or manifest.space_id != space:
        return f"has the manifest of {manifest.encoder_id} in {manifest.space_id}"
    if not _is_sha256(sha256):
        return "has no SHA-256"
    if has_file not in {0, 1} or not isinstance(size, int) or not 0 <= size < 1 << 53:
        return f"states a file of {str(size)[:20]} bytes"
    return _date_fault(admitted_at)


def _probe_fault(row: tuple[object, ...], dim: int) -> str | None:
    identity, vector, photo, added_at = row
    try:
        TypeAdapter(ItemId).validate_python(identity, strict=True)
    except ValidationError:
        return "has no valid id"
    if not is_photo_name(photo):
        return "has a photo that is not named by a SHA-256"
    if not isinstance(vector, bytes) or len(vector) != 4 * dim:
        return f"has no vector of {dim} values"
    length = float(np.linalg.norm(np.frombuffer(vector, dtype="<f4").astype(np.float64)))
    # A length that is no number is not close to 1 either.
    if not abs(length - 1.0) <= NORM_TOLERANCE:
        return f"has a vector of length {length:.4g}, not 1"
    return _date_fault(added_at)


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def _date_fault(text: object) -> str | None:
    try:
        datetime.fromisoformat(str(text))
    except ValueError:
        return f"has the date {str(text)[:40]!r}"
    return None
