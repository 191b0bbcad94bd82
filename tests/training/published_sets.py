"""Tiny lists in the layout of retrieval-SfM-120k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from askew_training.data.pairs import PairedPhotos

CIDS = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128:032x}" for number in range(1, 13)]
TRAIN, VAL = CIDS[:8], CIDS[8:]


def split_table(
    cids: Sequence[str] = TRAIN,
    clusters: Sequence[int] = (1, 1, 1, 1, 2, 2, 2, 3),
    queries: Sequence[int] = (0, 0, 2, 4, 5),
    positives: Sequence[int] = (1, 3, 1, 6, 5),
) -> dict[str, list[Any]]:
    return {"cids": list(cids), "cluster": list(clusters), "qidxs": list(queries), "pidxs": list(positives)}


def both_splits(**changes: object) -> dict[str, dict[str, Any]]:
    """The dict of both splits; `changes` replace lists of the training split."""
    return {"train": {**split_table(), **changes}, "val": split_table(VAL, (7, 7, 9, 9), (0, 2), (1, 3))}


def path_of(cid: str) -> str:
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def listed_pairs(pairs: PairedPhotos) -> tuple[list[int], list[int]]:
    """The queries and positives of listed pairs."""
    assert pairs.positives is not None
    return pairs.queries.tolist(), pairs.positives.tolist()
