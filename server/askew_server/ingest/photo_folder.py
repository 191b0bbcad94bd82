"""A folder of photos, with the ids and payloads that a CSV or JSONL file gives them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from askew_client.cli.taken import Intake
from askew_client.contract.common import ItemId, Payload
from askew_client.errors import AskewError
from askew_server.ingest.folder_walk import PHOTO_SUFFIXES, Walk, walk_photos
from askew_server.ingest.payload_lines import PayloadLine, PayloadLines, read_payload_lines
from askew_server.ingest.shards import WHOLE, Shard

NAME_NOT_UTF8 = "the name is not UTF-8"
NO_ID = "the path is no id that an item can have"
SAME_ID = "another photo has the same id"
BAD_LINE = "its line cannot be used"
WITHOUT_LINE = "no line is for them; they are taken with their paths as ids"
LATER_LINE = "a later line is for the same file"
NOT_THERE = "the file does not exist"
NOT_A_PHOTO_HERE = "the file is in the folder, but is not taken"
OUTSIDE = "the file is not in this folder"
OF_ANOTHER_SHARD = "the file belongs to another shard"

_ID_SENTENCES = {
    NAME_NOT_UTF8: "The name of {} is not UTF-8, so it can be no id. Rename it.",
    NO_ID: "The path of {} cannot be an id: expected 1 to 512 characters without control characters. Rename it, or give it "
    "an id with --payloads.",
}

_ID: TypeAdapter[str] = TypeAdapter(ItemId)


@dataclass(frozen=True)
class PhotoFile:
    """A photo to index: its path, its path in the folder, and the id and payload of its item."""

    path: Path
    name: str
    id: str
    payload: Payload


@dataclass
class FoundPhotos:
    """The photos of a folder, sorted by path, and the counts of everything else.

    `files`: what was skipped or left out so far; the photos are counted by whoever describes them. `lines`: of the
    payloads, None without. `is_complete`: whether the ids of all photos that were meant are known.
    """

    photos: list[PhotoFile]
    files: Intake
    walk: Walk
    lines: PayloadLines | None = None
    is_complete: bool = True
    first_of: dict[str, str] = field(default_factory=dict)


def find_photos(folder: Path, payloads: Path | None, types: Sequence[str] = (), shard: Shard = WHOLE) -> FoundPhotos:
    """Every photo of a shard under a folder, and what a CSV or JSONL file says about it.

    `payloads`: its `file` is relative to it; `id`, if there is one, becomes the item's id; the rest becomes the payload.
    The id of a photo without a line is its path in the folder. `types`: of a CSV's columns, see read_types. Raises
    AskewError for a folder that is missing, cannot be read or holds no photo, and for payloads that cannot be read.
    """
    lines = None if payloads is None else read_payload_lines(payloads, types)
    files = Intake("files")
    walk = walk_photos(folder, files, shard)
    if not walk.photos and not walk.has_others and not files.count("skipped"):
        files.print_reasons()
        raise AskewError(
            f"Expected photos ({', '.join(sorted(PHOTO_SUFFIXES))}) under {folder}, but there are none. Check the folder."
        )
    found = FoundPhotos([], files, walk, lines, walk.is_complete)
    line_of = {} if lines is None else _match(walk, lines)
    # An id that a line gives comes before the same one that is a path.
    order = sorted(walk.photos, key=lambda path: (path not in line_of or not line_of[path].id, path))
    for path in order:
        _take(path, line_of.get(path), found)
    found.photos.sort(key=lambda photo: photo.path)
    return found


def _take(path: Path, line: PayloadLine | None, found: FoundPhotos) -> None:
    """Give a photo its id and payload, or count it as skipped."""
    name = found.walk.name(path)
    if line is not None and line.problem:
        assert found.lines is not None
        found.files.skip(name, BAD_LINE, found.lines.sentence(line))
        found.is_complete = False
        return
    identity = (line.id if line else "") or Path(name).as_posix()
    problem = _id_problem(identity)
    if problem:
        found.files.skip(name, problem, _ID_SENTENCES[problem].format(path))
        # Without lines, no item can be this photo's.
        found.is_complete &= found.lines is None
        return
    if identity in found.first_of:
        first = found.first_of[identity]
        found.files.skip(name, SAME_ID, f"{path} and {first} have the same id {identity!r}. Give them different ids.")
        return
    found.first_of[identity] = name
    if line is None and found.lines is not None:
        found.files.not_matched(name, WITHOUT_LINE)
    found.photos.append(PhotoFile(path, name, identity, line.payload if line else {}))


def _id_problem(identity: str) -> str:
    try:
        identity.encode()
    except UnicodeEncodeError:
        return NAME_NOT_UTF8
    try:
        _ID.validate_python(identity)
    except ValidationError:
        return NO_ID
    return ""


def _match(walk: Walk, read: PayloadLines) -> dict[Path, PayloadLine]:
    """The line of each photo; lines for no photo are counted. Of several lines for one photo, the last usable one counts."""
    known = _Places(walk.photos)
    folder = os.path.realpath(walk.folder)
    line_of: dict[Path, PayloadLine] = {}
    for line in read.found:
        name = f"line {line.number}: {line.file[:200]}"
        if walk.shard.total > 1 and _is_of_another(read.path.parent, line.file, known, folder, walk.shard):
            if not line.problem:
                read.lines.leave_out(name, OF_ANOTHER_SHARD)
            continue
        path = known.find(read.path.parent, line.file)
        if path is None:
            if not line.problem:
                _count_unmatched(name, read, line, known, folder, walk.shard)
            continue
        before = line_of.get(path)
        if line.problem:
            line_of.setdefault(path, line)
            continue
        if before is not None and not before.problem:
            read.lines.replace(f"line {before.number}: {line.file[:200]}", LATER_LINE)
            read.lines.taken -= 1
        line_of[path] = line
        read.lines.taken += 1
    return line_of


def _count_unmatched(
    name: str, read: PayloadLines, line: PayloadLine, known: _Places, folder: str, shard: Shard
) -> None:
    there = next((place for place in known.spellings(read.path.parent, line.file) if os.path.lexists(place)), None)
    named = _names_in(folder, read.path.parent, line.file, known)
    if there is not None and not _is_in(there, folder):
        read.lines.leave_out(name, OUTSIDE)
    # One shard alone counts it.
    elif not shard.owns(named[0] if named else line.file):
        read.lines.leave_out(name, OF_ANOTHER_SHARD)
    else:
        read.lines.not_matched(name, NOT_THERE if there is None else NOT_A_PHOTO_HERE)


def _is_of_another(base: Path, file: str, known: _Places, folder: str, shard: Shard) -> bool:
    """Whether a line is for a file in the folder that another shard has. Asks the disk for nothing: lines may be many."""
    named = _names_in(folder, base, file, known)
    return bool(named) and not any(map(shard.owns, named))


def _names_in(folder: str, base: Path, file: str, known: _Places) -> list[str]:
    """The paths in the folder that a line may mean."""
    return [os.path.relpath(place, folder) for place in known.places(base, file) if _is_in(place, folder)]


def _is_in(place: str, folder: str) -> bool:
    return place.startswith(folder.rstrip("/") + "/")


class _Places:
    """Photos by where they are: links in their folders are followed, and names compared as text, not as bytes."""

    def __init__(self, photos: list[Path]) -> None:
        self._exact: dict[str, Path] = {}
        self._composed: dict[str, list[Path]] = {}
        self._folders: dict[Path, str] = {}
        for path in photos:
            place = self._place(path)
            self._exact[place] = path
            self._composed.setdefault(_composed(place), []).append(path)

    def find(self, folder: Path, file: str) -> Path | None:
        """The photo that a line means, relative to the folder of its file."""
        for place in self.spellings(folder, file):
            if place in self._exact:
                return self._exact[place]
            alike = self._composed.get(_composed(place), [])
            if len(alike) == 1:
                return alike[0]
        return None

    def spellings(self, folder: Path, file: str) -> Iterator[str]:
        """Where a file that a line names may be: as written, without spaces around it, with the slashes of Windows."""
        for text in _texts(file):
            yield self._place(folder / text)
            yield os.path.realpath(folder / text)

    def places(self, folder: Path, file: str) -> list[str]:
        """As `spellings`, without following a link that the file itself is."""
        return [self._place(folder / text) for text in _texts(file)]

    def _place(self, path: Path) -> str:
        if path.parent not in self._folders:
            self._folders[path.parent] = os.path.realpath(path.parent)
        return f"{self._folders[path.parent]}/{path.name}"


def _texts(file: str) -> list[str]:
    """What a line may mean by its file."""
    return [] if "\0" in file else list(dict.fromkeys([file, file.strip(), file.strip().replace("\\", "/")]))


def _composed(place: str) -> str:
    """The text in Unicode's composed form: a Mac writes `é` as two characters, other systems as one."""
    return unicodedata.normalize("NFC", place)
