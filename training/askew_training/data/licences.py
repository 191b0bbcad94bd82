"""The sets that photos come from, and their licences."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError


class PhotoSource(BaseModel):
    """One set of photos that a network learned from: its name, its owners' licence, and the number of photos used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    photos: int = Field(ge=0)


def read_licences(path: Path) -> dict[str, str]:
    """Read a TOML table `[licences]` of set names to their owners' licences. Raises DataError."""
    try:
        licences = tomllib.loads(path.read_text(encoding="utf-8")).get("licences")
    except OSError as error:
        raise DataError(f"Expected a list of licences, but {path} cannot be read: {error.strerror}.") from None
    # Text that is no UTF-8, no TOML, or nested too deep; a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a TOML file: {error}.") from None
    if not isinstance(licences, dict) or not all(isinstance(licence, str) for licence in licences.values()):
        raise DataError(f"{path} has no table [licences]. Expected one that maps set names to texts.")
    return licences


def sources_of(photos: Iterable[Photo], licences: Mapping[str, str]) -> tuple[PhotoSource, ...]:
    """Count photos by set, each with its licence. Raises DataError for a set without a stated licence."""
    counts = Counter(photo.set_name for photo in photos)
    unknown = sorted(counts.keys() - licences.keys())
    if unknown:
        raise DataError(
            f"No licence is stated for {', '.join(unknown)}. Add a line for each set ('none stated' is a valid text)."
        )
    return tuple(PhotoSource(name=name, licence=licences[name], photos=counts[name]) for name in sorted(counts))


def merged_sources(*sets: Sequence[PhotoSource]) -> tuple[PhotoSource, ...]:
    """Merge sources by name and licence, sorted by both; of those that occur several times, the largest number of photos counts.

    A name with two licences stays twice: which of them holds is for a person to say.
    """
    merged = {(each.name, each.licence): each for each in sorted(chain(*sets), key=lambda each: each.photos)}
    return tuple(merged[key] for key in sorted(merged))
