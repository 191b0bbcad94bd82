"""What each gallery photo is to each query of a manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_training.data.photo_sets import Photo


def relevance_of(queries: Sequence[Photo], gallery: Sequence[Photo]) -> NDArray[np.int8]:
    """Judge every pair of a query and a gallery photo: int8 [n, m].

    1 for a photo that shows the query's instance, −1 for one that does not count (junk for that instance, or the query's own
    photo), 0 for all others.
    """
    shown: dict[str, list[int]] = defaultdict(list)
    junk: dict[str, list[int]] = defaultdict(list)
    rows_of: dict[Path, list[int]] = defaultdict(list)
    for row, photo in enumerate(gallery):
        rows_of[photo.path].append(row)
        for instance in photo.instances:
            shown[instance].append(row)
        for instance in photo.junk_for:
            junk[instance].append(row)
    relevance = np.zeros((len(queries), len(gallery)), dtype=np.int8)
    for line, query in zip(relevance, queries, strict=True):
        if query.instance_id:
            line[junk.get(query.instance_id, [])] = -1
            line[shown.get(query.instance_id, [])] = 1
        line[rows_of.get(query.path, [])] = -1
    return relevance
