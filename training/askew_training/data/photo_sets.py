"""Lists of photos: the manifest of a labelled set, folders, and the split into training and validation."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.encoding.photos import SUFFIXES
from askew_training.data.crops import Box
from askew_training.data.judgements import Definition, judgements_of
from askew_training.errors import DataError

COLUMNS = ("path", "instance_id", "role", "benchmark", "set")
ROLES = ("train", "query", "gallery")


@dataclass(frozen=True)
class Photo:
    """One photo file and what is known about it.

    `instance_id`: what it shows, empty if unknown. `role`: train, query or gallery. `benchmark`: the gallery that it
    belongs to. `set_name`: where it comes from. `id`: its name in caches and reports, with POSIX separators: the path
    stated in its manifest, or FOLDER/path/inside/it for a photo that was found in a folder.

    `other_instances`: what a gallery photo shows besides `instance_id`. `junk_for`: instances for whose queries it is
    neither right nor wrong. `box`: what is searched for in a query. `average_precision`: of a query's set.
    """

    path: Path
    instance_id: str
    role: str
    benchmark: str
    set_name: str
    id: str
    other_instances: tuple[str, ...] = ()
    junk_for: tuple[str, ...] = ()
    box: Box | None = None
    average_precision: Definition = "trapezoid"

    @property
    def instances(self) -> tuple[str, ...]:
        """Everything that it is known to show."""
        return (self.instance_id, *self.other_instances) if self.instance_id else ()


def read_manifest(path: Path, intake: Intake | None = None) -> list[Photo]:
    """Read a manifest: a CSV with the columns path, instance_id, role, benchmark, set; paths are relative to it.

    `askew_training.data.judgements` describes its optional columns.

    `intake`: counts lines that cannot be taken (too few values, an unknown role, a name that is not UTF-8), which are
    passed over. Without it, the first such line raises DataError, as do a missing file and a missing column.
    """
    try:
        # What is not UTF-8 is kept as it is until its line is looked at.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream)
            # In one place it is `instance_ids`: a column that lists several.
            named = {"instance_id" if name == "instance_ids" else name for name in reader.fieldnames or []}
            missing = [column for column in COLUMNS if column not in named]
            if not all(_is_utf8(column) for column in reader.fieldnames or []):
                raise DataError(f"{path} is not a CSV file in UTF-8. Expected the columns {', '.join(COLUMNS)}.")
            if {"instance_id", "instance_ids"} <= set(reader.fieldnames or []):
                raise DataError(f"{path} has the columns instance_id and instance_ids. Expected one of them.")
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}. Expected {', '.join(COLUMNS)}.")
            return list(_photos(path, reader, intake))
    except OSError as error:
        raise DataError(f"Expected a manifest, but {path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path} is not a CSV file in UTF-8. Expected the columns {', '.join(COLUMNS)}.") from None


def photos_in(folder: Path, intake: Intake | None = None) -> list[Photo]:
    """List all photos under a folder, sorted by path. Photos in a subfolder belong to a set of that name.

    `intake`: counts files whose names are not UTF-8, which are passed over, as they are without it. Raises DataError if
    it is not a folder or holds no photo.
    """
    paths = _paths_in(folder, intake)
    return [Photo(path, "", "train", "", _set_of(path, folder), _id_of(path, folder)) for path in paths]


def labelled_folder(folder: Path, intake: Intake | None = None) -> list[Photo]:
    """List all photos of a folder of folders, sorted by path: each direct subfolder is one instance, of its name.

    Their role is `train`, their set the folder's own name. Raises DataError if it is not a folder, holds no photo, or
    holds a photo outside its subfolders, for which no instance is known.
    """
    paths = _paths_in(folder, intake)
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
    manifest: Path | None,
    folders: Iterable[Path],
    labelled_folders: Iterable[Path] = (),
    intake: Intake | None = None,
) -> list[Photo]:
    """List the photos to learn from: role `train` of a manifest, all of some unlabelled folders, and all of some
    folders of folders. Raises DataError if there is none.

    Photos of an unlabelled folder that the manifest lists are what it says, with their label and role: its queries would be
    learned from otherwise. `intake`: as for `read_manifest`; counts these photos as left out.
    """
    listed = read_manifest(manifest, intake) if manifest else []
    chosen = [photo for photo in listed if photo.role == "train"]
    files = {os.path.realpath(photo.path) for photo in listed}
    for folder in folders:
        for photo in photos_in(folder, intake):
            # Without a manifest, no path is looked up.
            if not files or os.path.realpath(photo.path) not in files:
                chosen.append(photo)
            elif intake is not None:
                intake.leave_out(photo.id, "in a folder, and listed in the manifest")
    for folder in labelled_folders:
        chosen += labelled_folder(folder, intake)
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


def _photos(manifest: Path, reader: csv.DictReader[str], intake: Intake | None) -> Iterator[Photo]:
    for row in reader:
        name = f"{manifest}, line {reader.line_num}"
        values = [row.get(column, row.get("instance_ids")) for column in COLUMNS]
        expected = f"expected {len(COLUMNS)} values, {', '.join(COLUMNS)}"
        if any(value is None for value in values):
            problem = "too few values", f"{name}: {expected}."
        elif row["role"] not in ROLES:
            problem = "an unknown role", f"{name}: expected the role {', '.join(ROLES)}, got {row['role']!r}."
        elif not all(_is_utf8(str(value)) for value in (*values, row.get("junk"))):
            problem = "not UTF-8", f"{name}: expected a text in UTF-8, got {row['path']!r}."
        elif not row["path"] or "\0" in str(row["path"]):
            problem = "no path", f"{name}: expected the path of a photo, got {row['path']!r}."
        elif isinstance(judged := judgements_of(row, row["role"]), tuple):
            problem = judged[0], f"{name}: {judged[1]}."
        else:
            path, _, role, benchmark, set_name = (str(value) for value in values)
            yield Photo(
                manifest.parent / path,
                judged.instances[0] if judged.instances else "",
                role,
                benchmark,
                set_name,
                Path(path).as_posix(),
                judged.instances[1:],
                judged.junk,
                judged.box,
                judged.average_precision,
            )
            continue
        if intake is None:
            raise DataError(problem[1])
        intake.skip(name, f"lines of the manifest with {problem[0]}", problem[1])


def _is_utf8(text: str) -> bool:
    """Whether a text read from a disk was UTF-8: other bytes stand in it as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _paths_in(folder: Path, intake: Intake | None) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"Expected a folder of photos, but {folder} is not a folder.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    paths = [path for path in found if _is_utf8(str(path))]
    if intake is not None:
        for path in found:
            if not _is_utf8(str(path)):
                intake.skip(str(path), "the name is not UTF-8")
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
