"""A folder of photos, and a CSV with ids and payloads for them."""

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
    """A photo to index: its path, and the id and payload of its item."""

    path: Path
    id: str
    payload: Payload


def find_photos(folder: Path, payloads: Path | None) -> list[PhotoFile]:
    """Every JPEG, PNG and WebP file under a folder, sorted by path.

    `payloads`: a CSV with a column `file` (relative to the CSV). The column `id`, if there is one, becomes the item's id;
    the other columns, where they are not empty, become its payload. The id of a photo without a line is its path in the
    folder. Raises AskewError for a folder that is missing, cannot be read or holds no photo, for a CSV without `file`,
    and for two photos with the same id.
    """
    lines = {} if payloads is None else _read_payloads(payloads)
    photos = []
    for path in _photo_paths(folder):
        line = dict(lines.get(path.resolve(), {}))
        identity = line.pop("id", "") or path.relative_to(folder).as_posix()
        photos.append(PhotoFile(path, _checked_id(identity, path), dict(line)))
    if not photos:
        raise AskewError(
            f"Expected photos ({', '.join(sorted(SUFFIXES))}) under {folder}, but there are none. Check the folder."
        )
    by_id: dict[str, Path] = {}
    for photo in photos:
        if photo.id in by_id:
            raise AskewError(
                f"{photo.path} and {by_id[photo.id]} have the same id {photo.id!r}. Give them different ids."
            )
        by_id[photo.id] = photo.path
    return photos


def _photo_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AskewError(
            f"Expected a folder of photos, but {folder} {'is not a folder' if folder.exists() else 'is missing'}. Check the path."
        )

    def refuse(error: OSError) -> None:
        raise AskewError(
            f"The folder {error.filename} cannot be read: {error.strerror}. Nothing was indexed; check its permissions."
        )

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
                raise AskewError(
                    f"Expected a column `file` in {path}, got the columns {reader.fieldnames or []}. Name the column of photos `file`."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AskewError(f"The payloads in {path} cannot be read: {error}. Expected a CSV in UTF-8.") from None
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
            f"{path} would get the id {identity[:80]!r}; expected 1 to 512 characters without control characters. Give it "
            "an id in the CSV."
        ) from None
