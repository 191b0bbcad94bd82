"""Lists of photos: the manifest of a labelled set, folders, and the split into training and validation."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from askew_client.encoding.photos import SUFFIXES
from askew_training.errors import DataError

COLUMNS = ("path", "instance_id", "role", "benchmark", "set")
ROLES = ("train", "query", "gallery")


@dataclass(frozen=True)
class Photo:
    """One photo file and what is known about it.

    `instance_id`: what it shows, empty if unknown. `role`: train, query or gallery. `benchmark`: the gallery that it
    belongs to. `set_name`: where it comes from. `id`: its name in caches and reports, with POSIX separators: the path
    stated in its manifest, or FOLDER/path/inside/it for a photo that was found in a folder.
    """

    path: Path
    instance_id: str
    role: str
    benchmark: str
    set_name: str
    id: str


def read_manifest(path: Path) -> list[Photo]:
    """Read a manifest: a CSV with the columns path, instance_id, role, benchmark, set; paths are relative to it.

    Raises DataError for a missing file or column, an unknown role, or a line with too few values.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}. Expected {', '.join(COLUMNS)}.")
            return [_photo(path, number, row) for number, row in enumerate(reader, start=2)]
    except OSError as error:
        raise DataError(f"Expected a manifest, but {path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path} is not a CSV file in UTF-8. Expected the columns {', '.join(COLUMNS)}.") from None


def photos_in(folder: Path) -> list[Photo]:
    """List all photos under a folder, sorted by path. Photos in a subfolder belong to a set of that name.

    Raises DataError if it is not a folder or holds no photo.
    """
    return [Photo(path, "", "train", "", _set_of(path, folder), _id_of(path, folder)) for path in _paths_in(folder)]


def labelled_folder(folder: Path) -> list[Photo]:
    """List all photos of a folder of folders, sorted by path: each direct subfolder is one instance, of its name.

    Their role is `train`, their set the folder's own name. Raises DataError if it is not a folder, holds no photo, or
    holds a photo outside its subfolders, for which no instance is known.
    """
    paths = _paths_in(folder)
    loose = [path for path in paths if path.parent == folder]
    if loose:
        raise DataError(
            f"Expected a folder for each instance, but {folder} itself holds {len(loose)} photo(s), such as "
            f"{loose[0].name}. Move them into a folder named after what they show."
        )
    set_name = folder.resolve().name
    return [
        Photo(path, path.relative_to(folder).parts[0], "train", "", set_name, _id_of(path, folder)) for path in paths
    ]


def training_photos(
    manifest: Path | None, folders: Iterable[Path], labelled_folders: Iterable[Path] = ()
) -> list[Photo]:
    """List the photos to learn from: role `train` of a manifest, all of some unlabelled folders, and all of some
    folders of folders. Raises DataError if there is none."""
    chosen = [photo for photo in read_manifest(manifest) if photo.role == "train"] if manifest else []
    for folder in folders:
        chosen += photos_in(folder)
    for folder in labelled_folders:
        chosen += labelled_folder(folder)
    if not chosen:
        raise DataError(
            "There are no photos to learn from. Give a manifest with photos of role train, or a folder of photos."
        )
    return chosen


def hold_out(photos: Iterable[Photo], share: float, seed: int) -> tuple[list[Photo], list[Photo]]:
    """Split photos in two by instance, for example for training and validation: (kept, held out), in the given order.

    About `share` (0 to below 1) of the instances are held out. Whether an instance is held out depends only on `seed`
    and its id, so adding or removing other instances does not move it. Photos without an instance are kept. Raises
    DataError for a share out of range.
    """
    if not 0 <= share < 1:
        raise DataError(f"Expected to hold out a share of the instances from 0 to below 1, got {share:g}.")
    kept: list[Photo] = []
    held: list[Photo] = []
    for photo in photos:
        is_held = bool(photo.instance_id) and _draw(seed, photo.instance_id) < share
        (held if is_held else kept).append(photo)
    return kept, held


def _photo(manifest: Path, number: int, row: Mapping[str, str | None]) -> Photo:
    values = [row[column] for column in COLUMNS]
    if any(value is None for value in values):
        raise DataError(f"{manifest}, line {number}: expected {len(COLUMNS)} values, {', '.join(COLUMNS)}.")
    path, instance_id, role, benchmark, set_name = (str(value) for value in values)
    if role not in ROLES:
        raise DataError(f"{manifest}, line {number}: expected the role {', '.join(ROLES)}, got {role!r}.")
    return Photo(manifest.parent / path, instance_id, role, benchmark, set_name, Path(path).as_posix())


def _paths_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"Expected a folder of photos, but {folder} is not a folder.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(f"{folder} holds no photo. Expected files ending in {', '.join(sorted(SUFFIXES))}.")
    return paths


def _id_of(path: Path, folder: Path) -> str:
    return f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"


def _set_of(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else folder.resolve().name


def _draw(seed: int, instance_id: str) -> float:
    """A number in [0, 1) that depends only on the arguments."""
    digest = hashlib.sha256(f"{seed} {instance_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
