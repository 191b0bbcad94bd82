"""Photos sent for a gallery: described by its teacher and committed, a batch at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from askew_client.contract.common import Payload
from askew_client.errors import AskewError, PhotoError
from askew_client.files import write_atomically
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.gallery_access import BATCH, JobDescriber, known_photos, reading, run_in
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Result, Task
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.reader import GalleryReader

MOST_REFUSED_LISTED = 1_000
"""How many photos that were refused a result names; it counts them all."""

_LIST = "photos.json"
_JOURNAL = "ended.jsonl"

Outcome = Literal["described", "known", "refused"]


def write_photo_list(folder: Path, photos: list[SentPhoto]) -> None:
    """Write down which photos a job's folder holds; the job is whole from then on."""
    write_atomically(folder / _LIST, json.dumps([asdict(photo) for photo in photos]).encode())


class PhotosJob:
    """Describes the photos in its folder. A photo that cannot be described is named in the result; the others go on.

    Each batch is committed and noted in the job's journal: a job that runs again goes on behind the last one.
    """

    name = "photos"
    lane: Lane = "describing"

    def __init__(self, galleries: Catalog, *, max_pixels: int) -> None:
        self._galleries = galleries
        self._max_pixels = max_pixels

    def check(self, gallery: str) -> None:
        """Raise Refusal (cannot-describe, unknown-gallery) when this gallery cannot have photos described."""
        self._galleries.get(gallery).encoders.facts.require_teacher_file()

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        if not (task.folder / _LIST).exists():
            raise AskewError("The photos of this job were lost when the server ended. Send them again.")

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> Result:
        """See JobKind. The result: how many were described, known and refused, and why each refused one was."""
        gallery = self._galleries.get(task.gallery)
        photos = [SentPhoto(**each) for each in json.loads((task.folder / _LIST).read_bytes())]
        journal = _Journal(task.folder / _JOURNAL)
        report(len(journal.ended), len(photos))
        encoder = gallery.encoders.facts.require_teacher_file()
        with (
            reading(gallery, cancelled) as reader,
            JobDescriber(encoder, max_pixels=self._max_pixels, cancelled=cancelled) as describer,
        ):
            for batch in _batches([photo for photo in photos if photo.id not in journal.ended]):
                if cancelled():
                    raise JobStopped
                journal.add(_process_batch(gallery, reader, task.folder, batch, describer, cancelled))
                for photo in batch:
                    (task.folder / photo.file).unlink(missing_ok=True)
                report(len(journal.ended), len(photos))
        return journal.result()


class _Journal:
    """What became of each photo, kept in a file from batch to batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ended: dict[str, tuple[Outcome, str]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                identity, outcome, why = json.loads(line)
            # The server ended while it wrote the line: its photo is looked at again.
            except ValueError:
                continue
            self.ended[identity] = (outcome, why)

    def add(self, outcomes: dict[str, tuple[Outcome, str]]) -> None:
        """Note what became of a batch."""
        with self._path.open("a") as stream:
            stream.writelines(f"\n{json.dumps([identity, *outcome])}" for identity, outcome in outcomes.items())
        self.ended |= outcomes

    def result(self) -> Result:
        """How many there are of each outcome, and the reasons of the refused."""
        outcomes = [outcome for outcome, _ in self.ended.values()]
        refused = {identity: why for identity, (outcome, why) in self.ended.items() if outcome == "refused"}
        return {
            "described": outcomes.count("described"),
            "known": outcomes.count("known"),
            "refused": len(refused),
            "reasons": dict(list(refused.items())[:MOST_REFUSED_LISTED]),
        }


def _process_batch(
    gallery: LiveGallery,
    reader: GalleryReader,
    folder: Path,
    batch: list[SentPhoto],
    describer: JobDescriber,
    cancelled: Cancelled,
) -> dict[str, tuple[Outcome, str]]:
    """Describe and commit a batch; what became of each photo, by id."""
    outcomes: dict[str, tuple[Outcome, str]] = {}
    contents: dict[str, bytes] = {}
    known = known_photos(reader, [photo.id for photo in batch])
    for photo in batch:
        try:
            content = b"" if photo.refused else (folder / photo.file).read_bytes()
        except FileNotFoundError:
            outcomes[photo.id] = "refused", "The server ended while it was at work on this photo. Send it again."
            continue
        if photo.refused:
            outcomes[photo.id] = "refused", photo.refused
        elif known.get(photo.id) == (hashlib.sha256(content).hexdigest(), photo.payload):
            outcomes[photo.id] = "known", ""
        else:
            contents[photo.id] = content
    fresh = [photo for photo in batch if photo.id in contents]
    items = []
    for photo, vector in zip(fresh, describer.describe([folder / photo.file for photo in fresh]), strict=True):
        if isinstance(vector, PhotoError):
            outcomes[photo.id] = "refused", str(vector).replace(str(folder / photo.file), "The photo")
        else:
            items.append(StoredItem(photo.id, vector, photo.payload, (contents[photo.id], photo.suffix)))
            outcomes[photo.id] = "described", ""
    if items:
        run_in(gallery, lambda each: each.upsert(ItemBatch.of(items)), cancelled)
    return outcomes


def _batches(photos: list[SentPhoto]) -> Iterator[list[SentPhoto]]:
    for start in range(0, len(photos), BATCH):
        yield photos[start : start + BATCH]


@dataclass(frozen=True)
class SentPhoto:
    """A photo of a form: the item's id, its file's name in the folder, and what its name ends in once it is stored.

    `refused`: why it is no photo at all, by its first bytes; its file is gone then.
    """

    id: str
    file: str
    suffix: str
    payload: Payload
    refused: str | None = None
