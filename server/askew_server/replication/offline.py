"""What an operator does with the DATA of a replica while no server uses it: promote it, and discard a copy."""

from __future__ import annotations

from pathlib import Path

from askew_client.errors import AskewError
from askew_client.files import flush_folder
from askew_server.files import free_path
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.known_galleries import KnownGalleries
from askew_server.replication.history import LocalGallery, UnreadableCopy
from askew_server.replication.record import ReplicationRecord, replication_record
from askew_server.replication.standing import Standing

DISCARDED = "discarded"
"""The folder in DATA of galleries that were discarded."""


def promote_data(data: Path, *, accept_loss: bool) -> tuple[ReplicationRecord, list[str]]:
    """Make the DATA of a replica, or of a superseded primary, that of the primary; this process owns it.

    Returns its record, and a sentence about each gallery that cannot be read.

    Raises AskewError without `accept_loss`, as nobody knows what the primary acknowledged since; and for a primary.
    """
    record = replication_record(data).read()
    if record is None or (record.role == "primary" and record.fence is None):
        raise AskewError(f"Expected the DATA of a replica, but {data} is a primary's already. Nothing was changed.")
    if not accept_loss:
        raise AskewError(
            f"While no server runs on {data}, nobody knows what {record.follows or 'its primary'} has acknowledged since it was "
            "copied last. Start the replica and promote it by its address (`askew replica promote URL`), or repeat with "
            "--accept-loss."
        )
    standing = Standing(data, record.follows if record.role == "replica" else None)
    successor = None if record.fence is None else record.fence.primary
    superseded = record.follows if record.role == "replica" else successor
    starts, unreadable = {}, []
    for folder in _gallery_folders(data):
        try:
            gallery = LocalGallery.read(folder.name, folder)
        # One that is damaged keeps none of the others from being served.
        except UnreadableCopy as error:
            unreadable.append(str(error))
        else:
            starts[gallery.key] = gallery.mark
    standing.promote(standing.propose(), starts, superseded)
    return standing.record(), unreadable


def discard_copy(data: Path, galleries: Catalog, name: str) -> Path:
    """Move a gallery of a replica out of the way, so that it is copied again; where it is now. This process owns DATA.

    Its aliases go with it, and come back with the copy. Raises AskewError on a primary, and if there is no such gallery.
    """
    file = replication_record(data)
    record = file.read()
    if record is None or record.role != "replica":
        raise AskewError(
            f"Expected the DATA of a replica, but {data} is a primary's: nothing would copy gallery {name!r} again. To delete it: "
            f"`askew gallery delete {name} --data {data}`."
        )
    folder = data / "galleries" / name
    if folder not in _gallery_folders(data):
        known = ", ".join(each.name for each in _gallery_folders(data)) or "none"
        raise AskewError(f"There is no gallery {name[:80]!r} in {data}. It holds: {known}.")
    for alias, gallery in galleries.aliases().items():
        if gallery == name:
            galleries.delete_alias(alias)
    # Before it is moved: one that is missed later would be reported as lost.
    KnownGalleries(data).forget(name)
    (data / DISCARDED).mkdir(exist_ok=True)
    place = free_path(data / DISCARDED / name)
    folder.rename(place)
    flush_folder(data / DISCARDED)
    flush_folder(data / "galleries")
    kept = {key: text for key, text in record.diverged.items() if key.partition("@")[0] != name}
    file.write(record.model_copy(update={"diverged": kept}))
    return place


def _gallery_folders(data: Path) -> list[Path]:
    return sorted(path.parent for path in (data / "galleries").glob("[!.]*/gallery.db"))
