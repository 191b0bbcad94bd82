"""Calls about galleries, their indexes and their aliases."""

from __future__ import annotations

from pathlib import Path

from askew_client.calls.call import BINARY, JSON, Call, gallery_path, json_body, segment
from askew_client.calls.encoders import ADMISSION_TIMEOUT, encoder_file
from askew_client.contract.galleries import (
    AliasAnswer,
    AliasList,
    CreateGalleryRequest,
    Deleted,
    GalleryDescription,
    GalleryList,
)
from askew_client.contract.indexes import IndexDescription, WantedKind
from askew_client.contract.jobs import ChangeTeacherEstimate, Job, RedescribeEstimate
from askew_client.contract.manifest import Manifest


def galleries() -> Call[GalleryList]:
    """All galleries."""
    return Call("GET", "/v1/galleries", GalleryList)


def gallery(name: str) -> Call[GalleryDescription]:
    """One gallery."""
    return Call("GET", gallery_path(name), GalleryDescription)


def create_gallery(name: str, teacher: str | Path | Manifest) -> Call[GalleryDescription]:
    """Create a gallery from its teacher's file, or from the teacher's manifest. Raises NotAnEncoder."""
    path = gallery_path(name)
    if isinstance(teacher, Manifest):
        body = CreateGalleryRequest(teacher=teacher).model_dump_json(exclude_none=True).encode()
        return Call("PUT", path, GalleryDescription, headers=JSON, body=body)
    content = encoder_file(teacher)
    return Call("PUT", path, GalleryDescription, headers=BINARY, body=content, timeout=ADMISSION_TIMEOUT)


def delete_gallery(name: str) -> Call[Deleted]:
    """Delete a gallery and everything in it."""
    return Call("DELETE", gallery_path(name), Deleted)


def estimate_redescription(name: str, into: str) -> Call[RedescribeEstimate]:
    """Estimate the work of re-describing a gallery."""
    body = json_body({"into": into, "estimate_only": True})
    path = f"{gallery_path(name)}/redescribe"
    return Call("POST", path, RedescribeEstimate, headers=JSON, body=body, repeats=True)


def redescribe(name: str, into: str) -> Call[Job]:
    """Re-describe a gallery's photos into another gallery."""
    return Call("POST", f"{gallery_path(name)}/redescribe", Job, headers=JSON, body=json_body({"into": into}))


def index(name: str) -> Call[IndexDescription]:
    """The index of a gallery."""
    return Call("GET", _index_path(name), IndexDescription)


def choose_index(name: str, kind: WantedKind) -> Call[IndexDescription]:
    """Choose the kind of a gallery's index."""
    return Call("PUT", _index_path(name), IndexDescription, headers=JSON, body=json_body({"kind": kind}))


def rebuild_index(name: str) -> Call[Job]:
    """Rebuild a gallery's index."""
    return Call("POST", f"{_index_path(name)}/rebuild", Job)


def aliases() -> Call[AliasList]:
    """All aliases."""
    return Call("GET", "/v1/aliases", AliasList)


def set_alias(alias: str, gallery: str) -> Call[AliasAnswer]:
    """Point an alias at a gallery."""
    return Call("PUT", _alias_path(alias), AliasAnswer, headers=JSON, body=json_body({"gallery": gallery}))


def delete_alias(alias: str) -> Call[Deleted]:
    """Delete an alias."""
    return Call("DELETE", _alias_path(alias), Deleted)


def estimate_teacher_change(alias: str, to: str) -> Call[ChangeTeacherEstimate]:
    """Estimate the work of changing an alias's teacher."""
    body = json_body({"to": to, "estimate_only": True})
    path = f"{_alias_path(alias)}/change-teacher"
    return Call("POST", path, ChangeTeacherEstimate, headers=JSON, body=body, repeats=True)


def change_teacher(alias: str, to: str, *, accept_loss: bool, hold_seconds: int, switch: bool) -> Call[Job]:
    """Change an alias's teacher."""
    body = json_body({"to": to, "accept_loss": accept_loss, "hold_seconds": hold_seconds, "switch": switch})
    return Call("POST", f"{_alias_path(alias)}/change-teacher", Job, headers=JSON, body=body)


def _index_path(gallery: str) -> str:
    return f"{gallery_path(gallery)}/index"


def _alias_path(alias: str) -> str:
    return f"/v1/aliases/{segment(alias)}"
