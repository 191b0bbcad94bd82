"""Calls about the offline pack of a gallery."""

from __future__ import annotations

from collections.abc import Sequence

from askew_client.calls.call import JSON, Call, gallery_path, json_body
from askew_client.contract.galleries import Deleted
from askew_client.contract.jobs import Job
from askew_client.contract.offline_pack import OfflinePackDescription


def offline_pack(*, gallery: str) -> Call[OfflinePackDescription]:
    """The pack that the server has."""
    return Call("GET", _path(gallery), OfflinePackDescription)


def allow_offline_pack(
    fields: Sequence[str], *, gallery: str, thumbnails: int, code_bytes: int | None, refresh_minutes: int
) -> Call[Job]:
    """Allow a pack and make it."""
    wanted = {
        "fields": list(fields), "thumbnails": thumbnails, "bytes": code_bytes, "refresh_minutes": refresh_minutes
    }  # fmt: skip
    return Call("PUT", _path(gallery), Job, headers=JSON, body=json_body(wanted), repeats=False)


def make_offline_pack(*, gallery: str) -> Call[Job]:
    """Make the pack again."""
    return Call("POST", _path(gallery), Job)


def withdraw_offline_pack(*, gallery: str) -> Call[Deleted]:
    """Allow no pack any more."""
    return Call("DELETE", _path(gallery), Deleted)


def offline_pack_file(*, gallery: str) -> Call[bytes]:
    """The file of the pack."""
    return Call("GET", f"{_path(gallery)}/file", bytes)


def _path(gallery: str) -> str:
    return f"{gallery_path(gallery)}/offline-pack"
