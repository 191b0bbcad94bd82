"""The retrieval solution of Google Landmarks v2 and its index, as published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from askew_training.errors import DataError

Usage = Literal["public", "private"]
USAGES: tuple[Usage, ...] = ("public", "private")
IGNORED = "ignored"
SOLUTION, INDEX = "retrieval_solution_v2.1.csv", "index.csv"
IMAGE = re.compile(r"[0-9A-Za-z_-]{3,}")


@dataclass(frozen=True)
class LandmarkQuery:
    """A query: the id of its photo, the ids of the index images that show its landmark, and the part it is reported with."""

    id: str
    positives: tuple[str, ...]
    usage: Usage

    @property
    def landmark(self) -> str:
        """Names what the query shows: queries of one landmark have the same positives."""
        return min(self.positives) if self.positives else self.id


@dataclass(frozen=True)
class Solution:
    """The queries of the parts public and private, and the ids of those that the publisher ignores."""

    queries: tuple[LandmarkQuery, ...]
    ignored: tuple[str, ...]


def find_solution(root: Path) -> Path:
    """`retrieval_solution_v2.1.csv`, or the latest other version of it. Raises DataError."""
    if (root / SOLUTION).is_file():
        return root / SOLUTION
    others = sorted(root.glob("retrieval_solution*.csv"))
    if not others:
        raise DataError(f"{root} holds no {SOLUTION}. Expected it beside {INDEX} and the folders index and test.")
    return others[-1]


def read_solution(file: Path) -> Solution:
    """Read the lines id,images,Usage; Usage is Public, Private or Ignored. Raises DataError for another layout."""
    queries: list[LandmarkQuery] = []
    ignored: list[str] = []
    seen: set[str] = set()
    # Not read by csv: a line can be longer than that accepts, and has nothing to unquote.
    for number, line in _lines(file, "id,images,Usage"):
        query, _, rest = line.partition(",")
        images, _, usage = rest.rpartition(",")
        where = f"{file}, line {number}"
        if not IMAGE.fullmatch(query) or query in seen:
            raise DataError(f"{where}: expected the id of an image that no other line has, got {query[:40]!r}.")
        seen.add(query)
        part = usage.strip().lower()
        if part == IGNORED:
            ignored.append(query)
        elif part in USAGES:
            positives = tuple(dict.fromkeys(images.strip().strip('"').split()))
            if not all(IMAGE.fullmatch(image) for image in positives):
                raise DataError(f"{where}: expected ids of images, separated by spaces, got {images[:80]!r}.")
            queries.append(LandmarkQuery(query, positives, "public" if part == "public" else "private"))
        else:
            raise DataError(f"{where}: expected the Usage Public, Private or Ignored, got {usage[:40]!r}.")
    if not queries:
        raise DataError(f"{file} has no query of Usage Public or Private.")
    return Solution(tuple(queries), tuple(ignored))


def read_index(file: Path) -> list[str]:
    """Read the ids of `index.csv`, in their order: the first column, under the head `id`. Raises DataError."""
    ids: dict[str, None] = {}
    for number, line in _lines(file, "id"):
        image = line.partition(",")[0].strip('"')
        if not IMAGE.fullmatch(image) or image in ids:
            raise DataError(
                f"{file}, line {number}: expected the id of an image that no other line has, got {image[:40]!r}."
            )
        ids[image] = None
    if not ids:
        raise DataError(f"{file} lists no image.")
    return list(ids)


def image_path(folder: Path, image: str) -> Path:
    """Where the publisher's archives put an image: `a/b/c/abc….jpg`."""
    return folder / image[0] / image[1] / image[2] / f"{image}.jpg"


def _lines(file: Path, head: str) -> Iterator[tuple[int, str]]:
    """Numbered lines below the head. Raises DataError."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline().strip().replace('"', "")
            if not f"{first},".lower().startswith(f"{head},".lower()):
                raise DataError(f"{file} starts with {first[:80]!r}. Expected the columns {head}.")
            for number, line in enumerate(stream, start=2):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise DataError(f"Expected a list of images, but {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text in UTF-8. Expected the columns {head}.") from None
