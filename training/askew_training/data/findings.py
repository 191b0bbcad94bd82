"""Checking photos before the first epoch, so that problems do not stop a run in the middle."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from askew_client.cli.taken import Intake, reason_of
from askew_client.encoding.photos import SHORTEST_SIDE, read_photo, read_shape
from askew_client.errors import PhotoError
from askew_training.data.parallel import map_in_threads
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError

MISSING = "not there"
UNREADABLE = "cannot be read"
THIN = f"a side under {SHORTEST_SIDE} px"
NAMED = 3
"""How many photos a sentence names before it gives the number of the rest."""


@dataclass(frozen=True)
class Findings:
    """Which photos can be used, and what a person should know about the rest.

    `usable`: the photos that can be read, in the given order. `instances`: how many instances have two or more usable
    photos. `singles`: how many usable photos are alone in their instance. `unlabelled`: how many usable photos have no
    instance. `left_out`: a sentence for each photo that cannot be used; `intake` counts them by reason. `warnings`:
    sentences for a person.
    """

    usable: tuple[Photo, ...]
    instances: int
    singles: int
    unlabelled: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]
    intake: Intake = field(default_factory=Intake, compare=False)

    def summary(self) -> str:
        """One line with the numbers of photos and instances to learn from."""
        paired = len(self.usable) - self.singles - self.unlabelled
        return (
            f"{len(self.usable)} usable photos: {paired} in {self.instances} instance(s) of two or more, "
            f"{self.singles} alone in their instance, {self.unlabelled} without a label"
        )


@dataclass(frozen=True)
class _Inspection:
    """What was found about one photo file.

    `file`: equal for two paths of one file; None if the file is missing. `size`: in bytes. `problem`: a sentence that
    says why it cannot be used, and `reason` the same in a few words, alike for all of its kind.
    """

    file: Hashable
    size: int = 0
    problem: str | None = None
    reason: str = ""


Inspected = tuple[Photo, _Inspection]


def check_photos(
    photos: Sequence[Photo],
    *,
    labelled: bool,
    thorough: bool = False,
    on_photo: Callable[[], None] = lambda: None,
    intake: Intake | None = None,
) -> Findings:
    """Check photos before anything is learned from them.

    `labelled`: whether labels will be needed, so that some instance must have two photos. Only the header of each photo
    is read, unless `thorough`: then all of it is decoded, which is the only way to find a truncated JPEG (filling a
    cache with `PhotoStore.fill` finds it too). `on_photo` is called after each photo. Missing and unreadable photos, and
    photos whose shorter side is under 32 px, are left out of `usable`, with a warning, and counted in `intake`.

    Raises DataError for two photos with one id, and if too few photos are left to learn from.
    """
    _check_ids(photos)
    inspections = []
    for inspection in map_in_threads(lambda photo: _inspect(photo.path, thorough), photos):
        on_photo()
        inspections.append(inspection)
    inspected = list(zip(photos, inspections, strict=True))
    intake = Intake() if intake is None else intake
    _count(inspected, intake)
    usable = [(photo, inspection) for photo, inspection in inspected if inspection.problem is None]
    if not photos:
        raise DataError("Expected photos to check, but the list is empty.")
    if not usable:
        raise DataError(f"None of {len(photos)} photos can be used. The first: {inspections[0].problem}")
    counts = Counter(photo.instance_id for photo, _ in usable if photo.instance_id)
    singles = [photo.id for photo, _ in usable if counts[photo.instance_id] == 1]
    instances = sum(count > 1 for count in counts.values())
    if labelled and not instances:
        raise DataError(
            f"Expected two photos of some instance, but {len(usable)} photos show {len(counts)} instances, each only "
            "once. Give labelled photos, or learn from the teacher alone."
        )
    warnings = [
        _warn_of_missing(inspected),
        _warn_of_unreadable(inspected),
        _warn_of_thin(inspected),
        _warn_of_files_listed_twice(usable),
        _warn_of_equal_files(usable),
        _warn_of_shared_instances(photo for photo, _ in usable),
        _warn_of_singles(singles) if labelled else None,
    ]
    return Findings(
        usable=tuple(photo for photo, _ in usable),
        instances=instances,
        singles=len(singles),
        unlabelled=len(usable) - counts.total(),
        left_out=tuple(inspection.problem for inspection in inspections if inspection.problem is not None),
        warnings=tuple(warning for warning in warnings if warning is not None),
        intake=intake,
    )


def _inspect(path: Path, thorough: bool) -> _Inspection:
    try:
        known = path.stat()
        file = (known.st_dev, known.st_ino)
        height, width = read_photo(path).shape[:2] if thorough else read_shape(path)
    except FileNotFoundError:
        return _Inspection(None, problem=f"{path} is missing.", reason=MISSING)
    except OSError as error:
        return _Inspection(path, problem=f"{path} cannot be read: {error.strerror}.", reason=UNREADABLE)
    except PhotoError as error:
        return _Inspection(file, problem=str(error), reason=reason_of(error))
    if min(height, width) < SHORTEST_SIDE:
        problem = f"{path} has {width} × {height} px; its shorter side must have {SHORTEST_SIDE} px or more."
        return _Inspection(file, problem=problem, reason=THIN)
    return _Inspection(file, known.st_size)


def _check_ids(photos: Iterable[Photo]) -> None:
    twice = [identity for identity, count in Counter(photo.id for photo in photos).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} photo id(s) occur more than once: {_list_some(twice)}. List each photo once, and give folders "
            "different names."
        )


def _count(inspected: Iterable[Inspected], intake: Intake) -> None:
    for photo, inspection in inspected:
        if inspection.problem is None:
            intake.taken += 1
        else:
            intake.skip(photo.id, inspection.reason, inspection.problem)


def _warn_of_missing(inspected: Iterable[Inspected]) -> str | None:
    missing = [photo.id for photo, inspection in inspected if inspection.reason == MISSING]
    if not missing:
        return None
    return (
        f"{len(missing)} photo(s) are missing and are left out: {_list_some(missing)}. Paths are relative to their "
        "manifest; fetch the files, or remove their lines."
    )


def _warn_of_unreadable(inspected: Iterable[Inspected]) -> str | None:
    unreadable = [
        (photo.id, found.problem) for photo, found in inspected if found.problem and found.reason not in (MISSING, THIN)
    ]
    if not unreadable:
        return None
    names = [name for name, _ in unreadable]
    return f"{len(names)} photo(s) cannot be read and are left out: {_list_some(names)}. {unreadable[0][1]}"


def _warn_of_thin(inspected: Iterable[Inspected]) -> str | None:
    thin = [photo.id for photo, inspection in inspected if inspection.reason == THIN]
    if not thin:
        return None
    return f"{len(thin)} photo(s) have a side under {SHORTEST_SIDE} px and are left out: {_list_some(thin)}."


def _warn_of_files_listed_twice(usable: Iterable[Inspected]) -> str | None:
    first: dict[Hashable, str] = {}
    pairs = []
    for photo, inspection in usable:
        if inspection.file in first:
            pairs.append(f"{first[inspection.file]} = {photo.id}")
        else:
            first[inspection.file] = photo.id
    return f"{len(pairs)} file(s) are listed twice: {_list_some(pairs)}." if pairs else None


def _warn_of_equal_files(usable: Iterable[Inspected]) -> str | None:
    """Labels that contradict each other: two instances with the same bytes."""
    by_size: dict[int, list[Photo]] = defaultdict(list)
    for photo, inspection in usable:
        if photo.instance_id:
            by_size[inspection.size].append(photo)
    pairs = []
    for photos in by_size.values():
        # Only files of one size can be equal, so most photos need not be read.
        if len({photo.instance_id for photo in photos}) > 1:
            pairs += _equal_files(photos)
    if not pairs:
        return None
    return (
        f"{len(pairs)} photo(s) are equal to one of another instance, byte by byte: {_list_some(pairs)}. "
        "Check the labels."
    )


def _equal_files(photos: Iterable[Photo]) -> list[str]:
    first: dict[bytes, Photo] = {}
    pairs = []
    for photo in photos:
        known = first.setdefault(_digest(photo.path), photo)
        if known.instance_id != photo.instance_id:
            pairs.append(f"{known.id} ({known.instance_id}) = {photo.id} ({photo.instance_id})")
    return pairs


def _warn_of_shared_instances(usable: Iterable[Photo]) -> str | None:
    """Two folders of folders may both have a subfolder `1` that was not meant to be the same instance."""
    sets: Mapping[str, set[str]] = defaultdict(set)
    for photo in usable:
        if photo.instance_id:
            sets[photo.instance_id].add(photo.set_name)
    shared = [f"{instance} (in {', '.join(sorted(names))})" for instance, names in sets.items() if len(names) > 1]
    if not shared:
        return None
    return f"{len(shared)} instance id(s) occur in several sets, and count as one instance: {_list_some(shared)}."


def _warn_of_singles(singles: Sequence[str]) -> str | None:
    if not singles:
        return None
    return f"{len(singles)} photo(s) are alone in their instance, and can only be negatives: {_list_some(singles)}."


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _list_some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f", and {more} more" if more > 0 else "")
