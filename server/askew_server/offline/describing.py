"""What a gallery's pack is: its description, its file, and the refusal where there is none yet."""

from __future__ import annotations

from pathlib import Path

from askew_client.contract.offline_pack import OfflinePackDescription, OfflinePackPolicy
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.offline.store import OfflineStore, PackRecord
from askew_server.storage.facts import GalleryFacts
from askew_server.storage.sqlite import Database

RETRY_AFTER = 10
"""Seconds after which a device may ask again for a pack that is being made."""


def _fits(record: PackRecord, policy: OfflinePackPolicy) -> bool:
    """Whether a pack was made by what a policy says now."""
    header = record.header
    if policy.bytes is None:
        is_size = record.trained_size is None
    else:
        is_size = header.codec.bytes == min(policy.bytes, header.dim)
    # Nothing can be trained on an empty gallery.
    is_content = (header.fields, header.thumbnail_size) == (policy.fields, policy.thumbnails)
    return is_content and (is_size or not header.items)


def is_current(record: PackRecord, policy: OfflinePackPolicy, sequence: int) -> bool:
    """Whether a pack holds the gallery as it is. `sequence`: of the gallery's last change."""
    return _fits(record, policy) and record.header.sequence == sequence


def description_of(
    gallery: str, record: PackRecord, policy: OfflinePackPolicy, sequence: int, building: str | None
) -> OfflinePackDescription:
    """The description of a pack. `sequence`: of the gallery now; `building`: the job that makes the next pack."""
    header = record.header
    return OfflinePackDescription(
        gallery=gallery,
        space=header.space,
        sequence=header.sequence,
        created_at=header.created_at,
        items=header.items,
        size=record.size,
        sha256=record.sha256,
        etag=f'"{record.sha256}"',
        fields=header.fields,
        thumbnails=header.thumbnail_size,
        codec=header.codec,
        recall=header.recall,
        gallery_sequence=sequence,
        is_current=is_current(record, policy, sequence),
        building=building,
        policy=policy,
    )


def not_made(gallery: str, policy: OfflinePackPolicy, building: str | None, failure: str | None) -> Refusal:
    """The refusal where a pack is allowed and not there. `failure`: why the last attempt to make it failed."""
    if building is not None:
        what = "It is being made. Ask again in a moment."
    elif failure is not None:
        what = f"The last attempt failed: {failure}"
    else:
        what = f"`askew gallery pack {gallery}` makes it, or POST /v1/galleries/{gallery}/offline-pack."
    return Refusal(
        ProblemKind.NO_OFFLINE_PACK,
        f"Gallery {gallery!r} may be taken offline, but its pack is not there yet. {what}",
        {"allowed": True, "building": building, "policy": policy.model_dump(mode="json")},
        retry_after=RETRY_AFTER,
    )


def describe_pack(gallery: str, folder: Path) -> OfflinePackDescription:
    """The pack of the gallery in a folder that no server uses. Raises Refusal (no-offline-pack), DatabaseError."""
    store, facts = OfflineStore(gallery, folder), _facts(folder)
    policy = store.require_policy()
    record = store.served(policy, facts.space)
    if record is None:
        raise not_made(gallery, policy, None, None)
    return description_of(gallery, record, policy, facts.sequence, None)


def packed_file(gallery: str, folder: Path) -> Path:
    """The pack's file of the gallery in a folder that no server uses. Raises Refusal (no-offline-pack), DatabaseError."""
    store = OfflineStore(gallery, folder)
    policy = store.require_policy()
    record = store.served(policy, _facts(folder).space)
    if record is None:
        raise not_made(gallery, policy, None, None)
    return store.path(record)


def _facts(folder: Path) -> GalleryFacts:
    with Database.open_read_only(folder / "gallery.db") as database:
        return GalleryFacts.read(database)
