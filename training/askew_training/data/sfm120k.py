"""retrieval-SfM-120k and the whitening pairs, as published by Radenović et al. (PAMI 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_training.data.pairs import Indices, PairedPhotos, Split
from askew_training.data.photo_sets import Photo
from askew_training.data.pickles import read_pickle
from askew_training.errors import DataError

SET_NAME = "sfm120k"


def read_sfm120k(pickle: Path, images: Path, split: Split) -> PairedPhotos:
    """Read one split of `retrieval-SfM-120k.pkl`: the listed pairs, and all photos in the order of its `cids`.

    `images`: the folder `ims`; it is not read. A photo's id is its cid, its instance the cluster. A cluster is a 3D
    model, which may be so large that two of its photos show nothing in common, so only listed pairs count. The few
    listed pairs of a photo with itself are dropped. Raises DataError for another layout.
    """
    content = read_pickle(pickle)
    if not isinstance(content, Mapping) or not isinstance(content.get(split), Mapping):
        raise DataError(
            f"{pickle} has no split {split!r}. Expected the dict of `train` and `val` of retrieval-SfM-120k."
        )
    table = content[split]
    names = _names(pickle, table)
    clusters = _column(pickle, table, "cluster")
    if clusters.dtype.kind not in "iu":
        raise DataError(f"{pickle}: expected integers as `cluster`.")
    if len(clusters) != len(names):
        raise DataError(f"{pickle}: expected a cluster for each of {len(names)} cids, got {len(clusters)}.")
    return _paired(pickle, table, _photos(pickle, names, clusters.astype(str).tolist(), images))


def read_whitening_pairs(pickle: Path, images: Path) -> PairedPhotos:
    """Read `retrieval-SfM-30k-whiten.pkl` or `retrieval-SfM-120k-whiten.pkl`: pairs to learn a whitening from.

    `images`: the folder `ims`, as for `read_sfm120k`. The photos have no instances. Raises DataError for another layout.
    """
    content = read_pickle(pickle)
    if not isinstance(content, Mapping):
        raise DataError(f"{pickle} does not hold a dict. Expected one of cids, qidxs and pidxs, as in a -whiten.pkl.")
    names = _names(pickle, content)
    return _paired(pickle, content, _photos(pickle, names, [""] * len(names), images))


def _paired(pickle: Path, table: Mapping[Any, Any], photos: list[Photo]) -> PairedPhotos:
    queries, positives = (_indices(pickle, table, key, len(photos)) for key in ("qidxs", "pidxs"))
    if len(queries) != len(positives):
        raise DataError(f"{pickle}: expected as many pidxs as qidxs, got {len(positives)} and {len(queries)}.")
    different = queries != positives
    return PairedPhotos(tuple(photos), queries[different], positives[different])


def _photos(pickle: Path, names: list[str], instances: list[str], images: Path) -> list[Photo]:
    for name in names:
        # A name becomes part of a path: it must not lead out of the folder.
        if len(name) < 6 or not name.isascii() or not name.isalnum():
            raise DataError(f"{pickle}: expected cids of six letters and digits or more, got {name!r}.")
    return [
        Photo(images / name[-2:] / name[-4:-2] / name[-6:-4] / name, instance, "train", "", SET_NAME, name)
        for name, instance in zip(names, instances, strict=True)
    ]


def _names(pickle: Path, table: Mapping[Any, Any]) -> list[str]:
    names = _column(pickle, table, "cids")
    if names.dtype.kind not in "SU":
        raise DataError(f"{pickle}: expected texts as `cids`.")
    return [name.decode("latin1") if isinstance(name, bytes) else name for name in names.tolist()]


def _indices(pickle: Path, table: Mapping[Any, Any], key: str, count: int) -> Indices:
    indices = _column(pickle, table, key)
    if indices.dtype.kind not in "iu" and len(indices):
        raise DataError(f"{pickle}: expected integers as `{key}`.")
    wrong = indices[(indices < 0) | (indices >= count)]
    if wrong.size:
        raise DataError(f"{pickle}: expected `{key}` from 0 to {count - 1}, got {wrong[0]}.")
    return indices.astype(np.int64)


def _column(pickle: Path, table: Mapping[Any, Any], key: str) -> NDArray[Any]:
    """One of the lists of a split, as a one-dimensional array."""
    if key not in table:
        raise DataError(f"{pickle} has no `{key}`. It holds: {', '.join(str(each) for each in table)}.")
    values = table[key]
    try:
        column = np.asarray(values) if isinstance(values, list | tuple | np.ndarray) else None
    except (ValueError, OverflowError):
        column = None
    if column is None or column.ndim != 1:
        raise DataError(f"{pickle}: expected a list as `{key}`.")
    return column
