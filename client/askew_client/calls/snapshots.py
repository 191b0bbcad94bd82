"""Calls about snapshots of galleries."""

from __future__ import annotations

from pathlib import Path

from askew_client.calls.bodies import file_body
from askew_client.calls.call import JSON, Call, gallery_path, json_body, segment
from askew_client.calls.items import UPLOAD_TIMEOUT
from askew_client.contract.errors import DamagedSnapshot
from askew_client.contract.jobs import Job
from askew_client.contract.snapshots import DeletedSnapshot, SnapshotList


def snapshots(*, gallery: str) -> Call[SnapshotList]:
    """The snapshots of a gallery."""
    return Call("GET", _path(gallery), SnapshotList)


def create_snapshot(*, gallery: str) -> Call[Job]:
    """Make a snapshot."""
    return Call("POST", _path(gallery), Job)


def snapshot_file(name: str, *, gallery: str) -> Call[bytes]:
    """The file of a snapshot."""
    return Call("GET", f"{_path(gallery)}/{segment(name)}", bytes)


def delete_snapshot(name: str, *, gallery: str) -> Call[DeletedSnapshot]:
    """Delete a snapshot."""
    return Call("DELETE", f"{_path(gallery)}/{segment(name)}", DeletedSnapshot)


def verify_snapshot(name: str, *, gallery: str) -> Call[Job]:
    """Check a whole snapshot."""
    return Call("POST", f"{_path(gallery)}/{segment(name)}/verify", Job)


def restore(name: str, *, gallery: str, snapshot: str) -> Call[Job]:
    """Create a gallery from a snapshot on the server."""
    body = json_body({"gallery": gallery, "snapshot": snapshot})
    return Call("POST", f"{gallery_path(name)}/restore", Job, headers=JSON, body=body)


def restore_file(name: str, file: str | Path) -> Call[Job]:
    """Create a gallery from a snapshot file. Raises DamagedSnapshot if it cannot be read."""
    try:
        with Path(file).open("rb"):
            body = file_body(Path(file))
    except OSError as error:
        raise DamagedSnapshot(f"Expected a snapshot file, but {file} cannot be read: {error.strerror}.") from None
    headers = {"Content-Type": "application/x-tar"}
    return Call("POST", f"{gallery_path(name)}/restore", Job, headers=headers, body=body, timeout=UPLOAD_TIMEOUT)


def _path(gallery: str) -> str:
    return f"{gallery_path(gallery)}/snapshots"
