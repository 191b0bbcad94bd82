"""The job that describes photos sent for a gallery with its teacher, and commits them a batch at a time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from askew_client.contract.common import Payload
from askew_client.contract.jobs import PhotosResult
from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError, PhotoError
from askew_client.files import write_atomically
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.item_changes import AliasMoved, ItemChanges
from askew_server.jobs.gallery_access import BATCH, JobDescriber, known_photos, reading, wait_for, when_there_is_room
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.processes import Limits
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.port import ItemReader

MAX_REASONS = 1_000
"""How many refused photos a result names; it counts all of them."""

_LIST = "photos.json"
_JOURNAL = "ended.jsonl"

Outcome = Literal["described", "known", "refused"]


@dataclass(frozen=True)
class SentPhoto:
    """A photo of a form: the item's id, the name of its file in the job's folder, and the suffix of the stored photo.

    `refused`: why it is not a photo, by its first bytes; then its file was not kept.
    """

    id: str
    file: str
    suffix: str
    payload: Payload
    refused: str | None = None


def write_photo_list(folder: Path, photos: list[SentPhoto]) -> None:
    """Record which photos a job's folder holds; this makes the job's input complete."""
    write_atomically(folder / _LIST, json.dumps([asdict(photo) for photo in photos]).encode())


class PhotosJob:
    """Describes the photos in its folder. The result names the photos that cannot be described.

    Each batch is committed and recorded in the job's journal: a job that runs again continues after the last batch.
    """

    name = "photos"
    lane: Lane = "describing"

    def __init__(self, galleries: Catalog, *, max_pixels: int, limits: Limits) -> None:
        """`limits`: of describing one photo."""
        self._galleries = galleries
        self._max_pixels = max_pixels
        self._limits = limits

    def check(self, gallery: str) -> None:
        """Check that a gallery can have photos described. Raises Refusal (cannot-describe, unknown-gallery)."""
        self._galleries.get(gallery).encoders.facts.require_teacher_file()

    def check_input(self, task: Task) -> None:
        """See JobKind."""
        if not (task.folder / _LIST).exists():
            raise AskewError("The photos of this job were lost when the server ended. Send them again.")

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> PhotosResult:
        """See JobKind. Where the alias that the photos were sent to is switched meanwhile, the others follow it."""
        photos = [SentPhoto(**each) for each in json.loads((task.folder / _LIST).read_bytes())]
        journal = _Journal(task.folder / _JOURNAL)
        report(len(journal.outcomes), len(photos))
        while True:
            try:
                self._describe(task, photos, journal, report, cancelled)
            except AliasMoved:
                continue
            return journal.result()

    def _describe(
        self, task: Task, photos: list[SentPhoto], journal: _Journal, report: Report, cancelled: Cancelled
    ) -> None:
        sent_to = str(task.parameters.get("name", task.gallery))
        name = sent_to if sent_to in self._galleries.aliases() else task.gallery
        gallery = self._galleries.get(name)
        self._check_reach(task, gallery.name, name)
        changes = ItemChanges(gallery, name, self._galleries.resolve)
        encoder = gallery.encoders.facts.require_teacher_file()
        with (
            reading(gallery, cancelled) as reader,
            JobDescriber(encoder, max_pixels=self._max_pixels, limits=self._limits, cancelled=cancelled) as describer,
        ):
            for batch in _batches([photo for photo in photos if photo.id not in journal.outcomes]):
                if cancelled():
                    raise JobStopped
                journal.add(_process_batch(changes, reader, task.folder, batch, describer, cancelled))
                for photo in batch:
                    (task.folder / photo.file).unlink(missing_ok=True)
                report(len(journal.outcomes), len(photos))

    def _check_reach(self, task: Task, gallery: str, name: str) -> None:
        """Check that the sender may write to the gallery that the alias names by now. Raises Refusal (forbidden)."""
        only = task.parameters.get("only")
        if gallery == task.gallery or not isinstance(only, list):
            return
        if gallery not in {self._galleries.resolve(str(each)) for each in only}:
            raise Refusal(
                ProblemKind.FORBIDDEN,
                f"Alias {name!r} was switched to a gallery that the sender's key gives no access to, so the rest of these photos "
                "was not written. Send them with a key for that alias.",
            )


class _Journal:
    """The outcome of each photo and, for refused ones, the reason, in a file that survives a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, tuple[Outcome, str]] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                identity, outcome, reason = json.loads(line)
            # The server ended while it wrote this line, so its photo is processed again.
            except ValueError:
                continue
            self.outcomes[identity] = (outcome, reason)

    def add(self, outcomes: dict[str, tuple[Outcome, str]]) -> None:
        """Record the outcomes of a batch."""
        with self._path.open("a") as stream:
            stream.writelines(f"\n{json.dumps([identity, *outcome])}" for identity, outcome in outcomes.items())
        self.outcomes |= outcomes

    def result(self) -> PhotosResult:
        """The number of photos of each outcome, and the reasons for the refused ones."""
        counts = Counter(outcome for outcome, _ in self.outcomes.values())
        reasons = {identity: reason for identity, (outcome, reason) in self.outcomes.items() if outcome == "refused"}
        return PhotosResult(
            described=counts["described"],
            known=counts["known"],
            refused=counts["refused"],
            reasons=dict(list(reasons.items())[:MAX_REASONS]),
        )


def _process_batch(
    changes: ItemChanges,
    reader: ItemReader,
    folder: Path,
    batch: list[SentPhoto],
    describer: JobDescriber,
    cancelled: Cancelled,
) -> dict[str, tuple[Outcome, str]]:
    """Describe and commit a batch; returns the outcome of each photo, by id."""
    outcomes: dict[str, tuple[Outcome, str]] = {}
    contents: dict[str, bytes] = {}
    known = known_photos(reader, [photo.id for photo in batch])
    for photo in batch:
        if photo.refused:
            outcomes[photo.id] = "refused", photo.refused
            continue
        try:
            content = (folder / photo.file).read_bytes()
        except FileNotFoundError:
            outcomes[photo.id] = "refused", "The server ended while it processed this photo. Send it again."
            continue
        if known.get(photo.id) == (hashlib.sha256(content).hexdigest(), photo.payload):
            outcomes[photo.id] = "known", ""
        else:
            contents[photo.id] = content
    new = [photo for photo in batch if photo.id in contents]
    items = []
    for photo, vector in zip(new, describer.describe([folder / photo.file for photo in new]), strict=True):
        if isinstance(vector, PhotoError):
            outcomes[photo.id] = "refused", str(vector).replace(str(folder / photo.file), "The photo")
        else:
            items.append(StoredItem(photo.id, vector, photo.payload, (contents[photo.id], photo.suffix)))
            outcomes[photo.id] = "described", ""
    if items:
        when_there_is_room(
            lambda: wait_for(changes.submit(lambda each: each.upsert(ItemBatch.of(items))), cancelled), cancelled
        )
    return outcomes


def _batches(photos: list[SentPhoto]) -> Iterator[list[SentPhoto]]:
    for start in range(0, len(photos), BATCH):
        yield photos[start : start + BATCH]
