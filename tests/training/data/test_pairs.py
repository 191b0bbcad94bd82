"""Drawing pairs of photos that show the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from askew_training.data.pairs import PairedPhotos, pairs_within_instances
from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from tests.training.published_sets import listed_pairs


def labelled(*instances: str) -> list[Photo]:
    return [Photo(Path(str(row)), instance, "train", "", "s", str(row)) for row, instance in enumerate(instances)]


def listed(count: int = 6) -> PairedPhotos:
    rows = np.arange(count)
    return PairedPhotos(tuple(labelled(*["x"] * 2 * count)), rows, rows + count)


def test_listed_pairs_are_drawn_again_only_after_all_others() -> None:
    random = np.random.default_rng(3)
    queries, positives = listed().draw(4, random)
    assert len(set(queries.tolist())) == 4
    assert positives.tolist() == (queries + 6).tolist()
    assert queries.dtype == positives.dtype == np.dtype(np.int64)
    queries, _ = listed().draw(20, random)
    assert sorted(Counter(queries.tolist()).values()) == [3, 3, 3, 3, 4, 4]
    assert queries.tolist() != sorted(queries.tolist())
    assert [rows.tolist() for rows in listed().once()] == [list(range(6)), list(range(6, 12))]


def test_the_same_seed_draws_the_same() -> None:
    for pairs in (listed(), pairs_within_instances(labelled(*"aabbbcccc"))):
        first, again, other = (pairs.draw(5, np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_positives_are_drawn_uniformly_from_the_instance() -> None:
    photos = labelled("b", "a", "", "b", "c", "a", "b", "", "b")
    pairs = pairs_within_instances(photos)
    assert pairs.queries.tolist() == [0, 1, 3, 5, 6, 8]
    assert pairs.positives is None
    queries, positives = pairs.draw(6 * 3000, np.random.default_rng(0))
    assert set(Counter(queries.tolist()).values()) == {3000}
    counts = Counter(zip(queries.tolist(), positives.tolist(), strict=True))
    assert set(counts) == {(q, p) for q in (0, 3, 6, 8) for p in (0, 3, 6, 8) if p != q} | {(1, 5), (5, 1)}
    assert all(900 < count < 1100 for (query, _), count in counts.items() if query in (0, 3, 6, 8))
    once = pairs.once()
    assert once[0].tolist() == pairs.queries.tolist()
    assert all(photos[q].instance_id == photos[p].instance_id and q != p for q, p in zip(*once, strict=True))


@pytest.mark.slow
def test_pairs_of_a_large_instance_are_not_listed() -> None:
    pairs = pairs_within_instances(labelled(*["tower"] * 50_000))
    queries, positives = pairs.draw(2000, np.random.default_rng(0))
    assert len(set(queries.tolist())) == 2000
    assert not (queries == positives).any()
    assert len(set(positives.tolist())) > 1900


def test_photos_that_cannot_be_used_are_removed_with_their_pairs() -> None:
    pairs = listed(3)
    fewer = pairs.among(photo for photo in pairs.photos if photo.id not in ("1", "5"))
    assert [photo.id for photo in fewer.photos] == ["0", "2", "3", "4"]
    assert listed_pairs(fewer) == ([0], [2])
    mates = pairs_within_instances(labelled(*"aabbb"))
    left = mates.among(mates.photos[1:4])
    assert [left.photos[row].id for row in left.queries] == ["2", "3"]
    for none in (listed(3).among([]), pairs_within_instances(labelled("a", "b"))):
        for draw in (none.once, lambda none=none: none.draw(1, np.random.default_rng(0))):
            with pytest.raises(DataError, match="photos are known to show the same"):
                draw()
