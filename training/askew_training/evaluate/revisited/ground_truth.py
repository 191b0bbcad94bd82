"""The ground truth of revisited Oxford and Paris, as published (a pickle, of which nothing is executed) or as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from askew_training.data.crops import Box
from askew_training.data.pickles import read_pickle
from askew_training.errors import DataError

DatasetName = Literal["roxford5k", "rparis6k"]
NAMES: tuple[DatasetName, ...] = ("roxford5k", "rparis6k")
GRADES = ("easy", "hard", "junk")
GENERIC = frozenset({"oxford", "paris_general"})
"""The names of photos that were found by the name of the town, not of a landmark."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Query:
    """A query: its photo's name, its box, the landmark that it shows, and rows of the gallery, int64 [n], by grade."""

    name: str
    box: Box
    landmark: str
    easy: Rows
    hard: Rows
    junk: Rows


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """`images`: names of the gallery's photos without suffix, by row. `file`: where it was read from."""

    images: tuple[str, ...]
    queries: tuple[Query, ...]
    file: Path


def find_ground_truth(root: Path, dataset: str) -> Path:
    """The file `gnd_DATASET.pkl` or `.json`, in `root/DATASET` or in `root`. Raises DataError."""
    for folder in (root / dataset, root):
        for suffix in ("pkl", "json"):
            path = folder / f"gnd_{dataset}.{suffix}"
            if path.is_file():
                return path
    raise DataError(
        f"{root} holds no ground truth of {dataset}. Expected {dataset}/gnd_{dataset}.pkl below it, as the benchmark's authors "
        "publish it, or the same as JSON."
    )


def read_ground_truth(path: Path) -> GroundTruth:
    """Read `gnd_….pkl` or `gnd_….json`: a dict of `imlist`, `qimlist` and `gnd`. Raises DataError for another layout."""
    content = _read_json(path) if path.suffix == ".json" else read_pickle(path)
    if not isinstance(content, Mapping) or not {"imlist", "qimlist", "gnd"} <= content.keys():
        raise DataError(f"{path} is no ground truth of revisited Oxford or Paris. Expected imlist, qimlist and gnd.")
    images, queries = _names(content["imlist"], path, "imlist"), _names(content["qimlist"], path, "qimlist")
    truths = content["gnd"]
    if not isinstance(truths, Sequence) or len(truths) != len(queries):
        count = len(truths) if isinstance(truths, Sequence) else "no list"
        raise DataError(f"{path}: expected an entry of gnd for each of {len(queries)} queries, got {count}.")
    graded = [_grades(truth, len(images), f"{path}, query {name}") for name, truth in zip(queries, truths, strict=True)]
    boxes = [_box(truth, f"{path}, query {name}") for name, truth in zip(queries, truths, strict=True)]
    landmarks = _landmarks(queries, images, graded)
    return GroundTruth(
        images,
        tuple(
            Query(name, box, landmark, *grades)
            for name, box, landmark, grades in zip(queries, boxes, landmarks, graded, strict=True)
        ),
        path,
    )


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Expected a ground truth, but {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON in UTF-8. Expected imlist, qimlist and gnd.") from None


def _names(names: object, path: Path, key: str) -> tuple[str, ...]:
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(_is_name(name) for name in names):
        raise DataError(f"{path}: expected {key} to be a list of photo names.")
    if not names or len(set(names)) != len(names):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        raise DataError(f"{path}: expected {key} to name photos, each once, got {twice or 'none'}.")
    return tuple(str(name) for name in names)


def _is_name(name: object) -> bool:
    """Names are joined to a folder, and stay in it."""
    return isinstance(name, str) and bool(name) and ".." not in name and not name.startswith("/") and "\0" not in name


def _grades(truth: object, images: int, where: str) -> tuple[Rows, Rows, Rows]:
    if not isinstance(truth, Mapping) or not set(GRADES) <= truth.keys():
        hint = " It is the protocol of 2007 (ok, junk); get the revisited one." if _is_old(truth) else ""
        raise DataError(f"{where}: expected the lists easy, hard and junk.{hint}")
    lists = []
    for grade in GRADES:
        values = (
            np.asarray(truth[grade] if len(truth[grade]) else np.empty(0, np.int64)) if _sized(truth[grade]) else None
        )
        if values is None or values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise DataError(f"{where}: expected {grade} to be a list of rows of imlist.")
        rows = values.astype(np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < images):
            raise DataError(
                f"{where}: expected rows from 0 to {images - 1} in {grade}, got {rows.min()} to {rows.max()}."
            )
        lists.append(rows)
    every = np.concatenate(lists)
    if len(np.unique(every)) != len(every):
        raise DataError(f"{where}: a photo is listed twice. Expected each once in easy, hard and junk together.")
    return lists[0], lists[1], lists[2]


def _is_old(truth: object) -> bool:
    return isinstance(truth, Mapping) and "ok" in truth


def _sized(values: object) -> bool:
    return (isinstance(values, np.ndarray) and values.ndim > 0) or (
        isinstance(values, Sequence) and not isinstance(values, str)
    )


def _box(truth: Mapping[str, object], where: str) -> Box:
    values = truth.get("bbx")
    try:
        x1, y1, x2, y2 = np.asarray(values, dtype=np.float64).ravel().tolist()
    except (ValueError, TypeError):
        raise DataError(f"{where}: expected the box bbx as x1, y1, x2, y2, got {str(values)[:80]}.") from None
    if not (np.isfinite([x1, y1, x2, y2]).all() and x1 < x2 and y1 < y2):
        raise DataError(f"{where}: expected a box with x1 < x2 and y1 < y2, got {x1:g}, {y1:g}, {x2:g}, {y2:g}.")
    return x1, y1, x2, y2


def _landmarks(queries: Sequence[str], images: Sequence[str], graded: Sequence[tuple[Rows, Rows, Rows]]) -> list[str]:
    """What each query shows. The benchmark does not say it, and confidence intervals need it.

    Queries of one landmark that were chosen together have the same lists. Those that were chosen later have other lists, and
    share the landmark's name. A name that says only the town is replaced by the most frequent one among the queries of the
    same lists, then among their positives.
    """
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for number, grades in enumerate(graded):
        groups.setdefault(tuple(np.sort(rows).tobytes() for rows in grades), []).append(number)
    landmarks = [""] * len(queries)
    for group in groups.values():
        easy, hard, _ = graded[group[0]]
        candidates = [queries[number] for number in group], [images[row] for row in (*easy, *hard)]
        name = next((found for names in candidates if (found := _common(names))), queries[group[0]])
        for number in group:
            landmarks[number] = name
    return landmarks


def _common(names: Sequence[str]) -> str | None:
    kinds = Counter(
        match[1] for name in names if (match := re.fullmatch(r"(.+)_\d+", name)) and match[1] not in GENERIC
    )
    return kinds.most_common(1)[0][0] if kinds else None
