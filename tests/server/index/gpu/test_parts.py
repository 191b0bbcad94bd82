"""Rows over several devices and parts are searched as those of one index are."""

from __future__ import annotations

import numpy as np
import pytest

from askew_server.index.gpu.on_cpu import open_device
from askew_server.index.gpu.parts import Devices
from tests.support.gallery_vectors import clustered

DIM = 16
VECTORS = clustered(300, DIM, seed=4)
QUERIES = clustered(7, DIM, seed=5)


@pytest.mark.parametrize("is_replicated", [False, True], ids=["shard", "replica"])
@pytest.mark.parametrize(("devices", "most_rows"), [(1, 1_000), (1, 64), (2, 1_000), (3, 50)])
def test_all_rows_are_searched_wherever_they_are(devices: int, most_rows: int, is_replicated: bool) -> None:
    held = Devices(DIM, open_device, devices, is_replicated=is_replicated, most_rows=most_rows)
    for start in range(0, 300, 40):
        held.add(VECTORS[start : start + 40])
    truth = np.argsort(-(QUERIES @ VECTORS.T), axis=1)
    for queries in (slice(0, 1), slice(0, 7)):
        scores, rows = held.search(QUERIES[queries], 12)
        np.testing.assert_array_equal(rows, truth[queries, :12])
        np.testing.assert_allclose(scores, np.take_along_axis(QUERIES[queries] @ VECTORS.T, rows, axis=1), atol=2e-3)
        _, all_rows = held.search(QUERIES[queries], 310)
        assert np.all(np.sort(all_rows[:, :300], axis=1) == np.arange(300))
        assert np.all(all_rows[:, 300:] == -1)


def test_an_index_without_rows_finds_nothing() -> None:
    scores, rows = Devices(DIM, open_device, 2, is_replicated=False).search(QUERIES, 3)
    assert np.all(rows == -1)
    assert np.all(scores == -np.inf)
