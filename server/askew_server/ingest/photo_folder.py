"""A folder of photos, and a CSV of what is known about each."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from askew_client.contract.common import ItemId, Payload
from askew_client.encoding.photos import SUFFIXES
from askew_client.errors import AskewError


@dataclass(frozen=True)
class PhotoFile:
    """A photo to index: where it lies, the id and the payload that its item gets."""

    path: Path
    id: str
    payload: Payload


def find_photos(folder: Path, payloads: Path | None) -> list[PhotoFile]:
    """Every JPEG, PNG and WebP file under a folder, sorted by path.

    `payloads` is a CSV with a column `file` (relative to the CSV). Its column `id`, if there is one, becomes the
    item's id; the other columns, where they are not empty, its payload. A photo without a line has its path in the
    folder as id. Raises AskewError for a folder that is missing, cannot be read or holds no photo, for a CSV without
    `file`, and for two photos with one id.
    """
    lines = {} if payloads is None else _read_payloads(payloads)
    photos = []
    for path in _photo_paths(folder):
        line = dict(lines.get(path.resolve(), {}))
        identity = line.pop("id", "") or path.relative_to(folder).as_posix()
        photos.append(PhotoFile(path, _checked_id(identity, path), dict(line)))
    if not photos:
        raise AskewError(f"Expected photos ({', '.join(sorted(SUFFIXES))}) under {folder}, but there are none.")
    by_id: dict[str, Path] = {}
    for photo in photos:
        if photo.id in by_id:
            raise AskewError(f"{photo.path} and {by_id[photo.id]} have the same id {photo.id!r}. Ids must differ.")
        by_id[photo.id] = photo.path
    return photos


def _photo_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AskewError(
            f"Expected a folder of photos, but {folder} is {'no folder' if folder.exists() else 'missing'}."
        )

    def refuse(error: OSError) -> None:
        raise AskewError(f"The folder {error.filename} cannot be read: {error.strerror}. Nothing was indexed.")

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    return sorted(found)


def _read_payloads(path: Path) -> dict[Path, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if "file" not in (reader.fieldnames or []):
                raise AskewError(f"Expected a column `file` in {path}, got the columns {reader.fieldnames or []}.")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AskewError(f"The payloads in {path} cannot be read: {error}.") from None
    return {
        (path.parent / row["file"]).resolve(): {
            column: text
            for column, text in row.items()
            if column and column != "file" and isinstance(text, str) and text
        }
        for row in rows
    }


def _checked_id(identity: str, path: Path) -> str:
    try:
        return TypeAdapter(ItemId).validate_python(identity)
    except ValidationError:
        raise AskewError(
            f"{path} would get the id {identity[:80]!r}; an id has 1 to 512 characters and no control characters."
        ) from None
