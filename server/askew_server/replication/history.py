"""Whether what a server holds is a part of a primary's history, or holds what that primary never had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from askew_client.errors import AskewError
from askew_server.index.types import Labels
from askew_server.replication.record import Epoch, GalleryMark, ReplicationRecord, gallery_key
from askew_server.replication.tables import beside_digest, open_gallery, sequence_in
from askew_server.replication.wire import PrimaryState
from askew_server.storage.errors import DatabaseError
from askew_server.storage.facts import read_fact
from askew_server.storage.sqlite import Database

_NOTHING = GalleryMark(sequence=0, beside="")
_NAMED = 5
"""Items that a sentence names."""


class UnreadableCopy(AskewError):
    """A gallery of this server cannot be read."""


@dataclass(frozen=True)
class LocalGallery:
    """A gallery of this server, as it is on the disk."""

    name: str
    key: str
    mark: GalleryMark
    folder: Path

    @classmethod
    def read(cls, name: str, folder: Path) -> LocalGallery:
        """Read where a gallery is, without waking it. Raises UnreadableCopy."""
        try:
            with open_gallery(folder) as database, database.reading():
                mark = GalleryMark(sequence=sequence_in(database), beside=beside_digest(database))
                return cls(name, gallery_key(name, read_fact(database, "created_at")), mark, folder)
        # ValueError: a fact that is no number.
        except (DatabaseError, ValueError) as error:
            raise UnreadableCopy(
                f"The database of gallery {name!r} cannot be read here ({error}). If it is damaged, stop this server and discard "
                f"the copy (`askew replica discard {name}`): it is made again."
            ) from None


def is_older(own: list[Epoch], primary: list[Epoch]) -> bool:
    """Whether a primary has seen fewer epochs than this server: it is one that was superseded."""
    return len(primary) < len(own) and _tokens(own)[: len(primary)] == _tokens(primary)


def diverged_galleries(
    record: ReplicationRecord | None, state: PrimaryState, galleries: list[LocalGallery]
) -> dict[str, str]:
    """The galleries that hold what the primary never had, by key, each with a sentence that names it.

    They are found by where each one was when the epochs began that this server and the primary do not share.
    """
    found = {}
    known = {} if record is None else record.diverged
    for gallery in galleries:
        if gallery.key in known:
            found[gallery.key] = known[gallery.key]
            continue
        limit = None if record is None else _limit(record, state.epochs, gallery.key)
        if limit is not None and gallery.mark.sequence > limit.sequence:
            found[gallery.key] = more_changes(gallery.name, gallery.folder, gallery.mark.sequence, limit.sequence)
        elif (
            limit is not None
            and record is not None
            and record.role == "primary"
            and gallery.mark.beside != limit.beside
        ):
            found[gallery.key] = (
                f"Gallery {gallery.name!r} has encoders or probes that were changed here, and the new primary never had "
                "that change."
            )
    return found


def differing_item(gallery: str, label: int) -> str:
    """The sentence about a gallery in which one number stands for two changes."""
    return (
        f"Gallery {gallery!r} and the primary's have different items under change {label}: their histories differ, though "
        "neither was promoted. Was one of them put back from an older copy, and written to since?"
    )


def _limit(record: ReplicationRecord, primary: list[Epoch], key: str) -> GalleryMark | None:
    """Where a gallery was when the histories parted; None if this server's history is a part of the primary's."""
    own_tokens, their_tokens = _tokens(record.epochs), _tokens(primary)
    shared = 0
    while shared < min(len(own_tokens), len(their_tokens)) and own_tokens[shared] == their_tokens[shared]:
        shared += 1
    parted = [*record.epochs[shared:], *primary[shared:]]
    marks = [epoch.starts.get(key, _NOTHING) for epoch in parted]
    return min(marks, key=lambda mark: mark.sequence, default=None)


def _tokens(epochs: list[Epoch]) -> list[str]:
    return [epoch.token for epoch in epochs]


def lost_items(name: str, folder: Path, labels: Labels) -> str:
    """The sentence about a gallery whose primary has fewer items than its changes explain."""
    with open_gallery(folder) as database:
        sql = "SELECT id FROM items WHERE label IN (SELECT value FROM json_each(?)) LIMIT ?"
        ids = [str(identity)[:80] for (identity,) in database.rows(sql, (json.dumps(labels.tolist()), _NAMED))]
    return (
        f"Gallery {name!r} has {len(labels):,} items that the primary has no more, though it made fewer changes than that: "
        f"{', '.join(map(repr, ids))}. Was it repaired, or put back from an older copy?"
    )


def more_changes(name: str, folder: Path, sequence: int, shared: int) -> str:
    """The sentence about a gallery that is at `sequence`, where its primary never went beyond `shared`."""
    with open_gallery(folder) as database:
        ids = _newer_ids(database, shared)
    named = f" Items that were written: {', '.join(map(repr, ids))}." if ids else ""
    return f"Gallery {name!r} has {sequence - shared:,} changes, after change {shared:,}, that the primary never had.{named}"


def _newer_ids(database: Database, label: int) -> list[str]:
    sql = "SELECT id FROM items WHERE label > ? ORDER BY label LIMIT ?"
    return [str(identity)[:80] for (identity,) in database.rows(sql, (label, _NAMED))]


def foreign_galleries(state: PrimaryState, galleries: Mapping[str, str]) -> list[str]:
    """The names of galleries, from names to keys, that the primary does not have."""
    theirs = {gallery_key(name, each.created_at) for name, each in state.galleries.items()}
    return sorted(name for name, key in galleries.items() if key not in theirs and name not in state.unavailable)
