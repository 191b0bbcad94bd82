"""What is wrong with photos, found before the first epoch instead of amid it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from askew_client.encoding.photos import SHORTEST_SIDE, read_photo, read_shape
from askew_client.errors import PhotoError
from askew_training.data.parallel import mapped
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError

NAMED = 3
"""How many photos a sentence names before it says how many more there are."""


@dataclass(frozen=True)
class Findings:
    """What training may use, and what somebody should know.

    `usable`: the photos that can be read, in the order given. `instances`: how many instances have two usable photos
    or more. `singles`: how many usable photos are alone in their instance; `unlabelled`: how many have none.
    `left_out`: a sentence for each photo that cannot be used. `warnings`: sentences for a person.
    """

    usable: tuple[Photo, ...]
    instances: int
    singles: int
    unlabelled: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """One line: how many photos and instances there are to learn from."""
        paired = len(self.usable) - self.singles - self.unlabelled
        return (
            f"{len(self.usable)} usable photos: {paired} in {self.instances} instance(s) of two or more, "
            f"{self.singles} alone in their instance, {self.unlabelled} without a label"
        )


@dataclass(frozen=True)
class _Look:
    """What one look at a photo found.

    `file`: the same for two paths to one file, None for a missing one. `size`: its bytes. `problem`: why it cannot be
    used, as a sentence. `thin`: whether that is its shape.
    """

    file: Hashable
    size: int = 0
    problem: str | None = None
    thin: bool = False


def check_photos(
    photos: Sequence[Photo],
    *,
    labelled: bool,
    thorough: bool = False,
    on_photo: Callable[[], None] = lambda: None,
) -> Findings:
    """Check photos before they are learned from.

    `labelled`: whether labels will be needed, so that two photos of some instance must be there. Each photo's header is
    read, `thorough`: all of it is decoded, which alone finds a truncated JPEG (reading all photos into a cache by
    `PhotoStore.fill` finds it too). `on_photo` is called after each. Unreadable photos and those whose shorter side is
    under 32 px are left out of `usable`, with a warning.

    Raises DataError for two photos of one id, for missing files, and when too few are left to learn from.
    """
    _refuse_duplicate_ids(photos)
    looks = []
    for look in mapped(lambda photo: _look_at(photo.path, thorough), photos):
        on_photo()
        looks.append(look)
    seen = list(zip(photos, looks, strict=True))
    _refuse_missing(seen)
    usable = [(photo, look) for photo, look in seen if look.problem is None]
    if not usable:
        first = looks[0].problem if looks else "there is none."
        raise DataError(f"None of {len(photos)} photos can be used. The first: {first}")
    counts = Counter(photo.instance_id for photo, _ in usable if photo.instance_id)
    singles = [photo.id for photo, _ in usable if counts[photo.instance_id] == 1]
    instances = sum(count > 1 for count in counts.values())
    if labelled and not instances:
        raise DataError(
            f"Expected two photos of some instance at least, but {len(usable)} photos show {len(counts)} instances, "
            "none of them twice. Give labelled photos, or learn from the teacher alone."
        )
    warnings = [
        _on_unreadable(seen),
        _on_thin(seen),
        _on_files_listed_twice(usable),
        _on_equal_files(usable),
        _on_shared_instances(photo for photo, _ in usable),
        _on_singles(singles) if labelled else None,
    ]
    return Findings(
        usable=tuple(photo for photo, _ in usable),
        instances=instances,
        singles=len(singles),
        unlabelled=len(usable) - counts.total(),
        left_out=tuple(look.problem for look in looks if look.problem is not None),
        warnings=tuple(warning for warning in warnings if warning is not None),
    )


def _look_at(path: Path, thorough: bool) -> _Look:
    try:
        known = path.stat()
        file = (known.st_dev, known.st_ino)
        height, width = read_photo(path).shape[:2] if thorough else read_shape(path)
    except FileNotFoundError:
        return _Look(None)
    except OSError as error:
        return _Look(path, problem=f"{path} cannot be read: {error.strerror}.")
    except PhotoError as error:
        return _Look(file, problem=str(error))
    if min(height, width) < SHORTEST_SIDE:
        problem = f"{path} has {width} × {height} px; its shorter side must have {SHORTEST_SIDE} px or more."
        return _Look(file, problem=problem, thin=True)
    return _Look(file, known.st_size)


def _refuse_duplicate_ids(photos: Iterable[Photo]) -> None:
    twice = [identity for identity, count in Counter(photo.id for photo in photos).items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} photo id(s) occur more than once: {_named(twice)}. List each photo once, and give folders "
            "of different names."
        )


def _refuse_missing(seen: Iterable[tuple[Photo, _Look]]) -> None:
    missing = [photo.id for photo, look in seen if look.file is None]
    if missing:
        raise DataError(
            f"{len(missing)} photo(s) are missing: {_named(missing)}. Paths are relative to their manifest; fetch the "
            "files, or take their lines out."
        )


def _on_unreadable(seen: Sequence[tuple[Photo, _Look]]) -> str | None:
    unreadable = [photo.id for photo, look in seen if look.problem is not None and not look.thin]
    if not unreadable:
        return None
    first = next(look.problem for _, look in seen if look.problem is not None and not look.thin)
    return f"{len(unreadable)} photo(s) cannot be read and are left out: {_named(unreadable)}. {first}"


def _on_thin(seen: Iterable[tuple[Photo, _Look]]) -> str | None:
    thin = [photo.id for photo, look in seen if look.thin]
    if not thin:
        return None
    return f"{len(thin)} photo(s) have a side under {SHORTEST_SIDE} px and are left out: {_named(thin)}."


def _on_files_listed_twice(usable: Iterable[tuple[Photo, _Look]]) -> str | None:
    first: dict[Hashable, str] = {}
    pairs = []
    for photo, look in usable:
        if look.file in first:
            pairs.append(f"{first[look.file]} = {photo.id}")
        else:
            first[look.file] = photo.id
    return f"{len(pairs)} file(s) are listed twice: {_named(pairs)}." if pairs else None


def _on_equal_files(usable: Iterable[tuple[Photo, _Look]]) -> str | None:
    """Labels that contradict each other: two instances with the same bytes."""
    by_size: dict[int, list[Photo]] = defaultdict(list)
    for photo, look in usable:
        if photo.instance_id:
            by_size[look.size].append(photo)
    pairs = []
    for photos in by_size.values():
        # Only files of one size can be equal; most photos need not be read for this.
        if len({photo.instance_id for photo in photos}) > 1:
            pairs += _equal_files(photos)
    if not pairs:
        return None
    return (
        f"{len(pairs)} photo(s) are equal to one of another instance, byte by byte: {_named(pairs)}. Check the labels."
    )


def _equal_files(photos: Iterable[Photo]) -> list[str]:
    first: dict[bytes, Photo] = {}
    pairs = []
    for photo in photos:
        known = first.setdefault(_digest(photo.path), photo)
        if known.instance_id != photo.instance_id:
            pairs.append(f"{known.id} ({known.instance_id}) = {photo.id} ({photo.instance_id})")
    return pairs


def _on_shared_instances(usable: Iterable[Photo]) -> str | None:
    """Two folders of folders may both have a `1`; nobody meant these to be one instance."""
    sets: Mapping[str, set[str]] = defaultdict(set)
    for photo in usable:
        if photo.instance_id:
            sets[photo.instance_id].add(photo.set_name)
    shared = [f"{instance} (in {', '.join(sorted(names))})" for instance, names in sets.items() if len(names) > 1]
    if not shared:
        return None
    return f"{len(shared)} instance id(s) occur in several sets, and count as one instance: {_named(shared)}."


def _on_singles(singles: Sequence[str]) -> str | None:
    if not singles:
        return None
    return f"{len(singles)} photo(s) are alone in their instance, and can be negatives only: {_named(singles)}."


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f", and {more} more" if more > 0 else "")
