"""Codes, their factors, and their recall."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.offline.codes import ProductCodes
from askew_server.offline.choice import spread_rows
from askew_server.offline.codecs import Codec, int8_codec
from askew_server.offline.recall import QUERIES, RecallMeter
from askew_server.offline.training import rates_of, starts_of, train_codec, weights_of
from tests.server.offline.galleries import clustered

Float32 = NDArray[np.float32]


@pytest.mark.parametrize(("dim", "size"), [(64, 64), (50, 16), (10, 3)])
def test_product_codes_are_the_nearest_rows_by_weight(dim: int, size: int) -> None:
    vectors = clustered(300, dim)
    codec = train_codec(vectors, size)
    codes = codec.encode(vectors)
    assert codes.shape == (300, size)
    assert codes.dtype == np.uint8
    assert isinstance(codec.codes, ProductCodes)
    weights = weights_of(vectors)
    assert weights == pytest.approx((vectors.astype(np.float64) ** 2).mean(axis=0), rel=1e-5)
    covered: list[int] = []
    for column, (dimensions, book) in enumerate(codec.codes.parts):
        covered += dimensions.tolist()
        assert book.shape == (256, len(dimensions))
        assert len(dimensions) >= 1
        far = ((vectors[:, None, dimensions] - book[None]) ** 2 * weights[dimensions]).sum(axis=2)
        assert (far[np.arange(300), codes[:, column]] <= far.min(axis=1) + 1e-6).all()
        assert np.array_equal(codec.codes.decode(codes)[:, dimensions], book[codes[:, column]])
        assert np.array_equal(book, book.astype(np.float16).astype(np.float32))
    assert sorted(covered) == list(range(dim))
    # What a pack holds of the codec is enough to read its codes again.
    again = ProductCodes.read(codec.section, size, dim)
    assert np.array_equal(again.decode(codes), codec.codes.decode(codes))


def test_dimensions_that_differ_more_get_more_bits() -> None:
    importance = np.array([1.0, 0.25, 1e-12, 0.5, 1e-12])
    rates = rates_of(importance, 8)
    assert rates.sum() == pytest.approx(8, abs=1e-6)
    # Half a bit for each factor of two.
    assert rates[0] - rates[1] == pytest.approx(1)
    assert rates[0] - rates[3] == pytest.approx(0.5)
    assert rates[2] == rates[4] == 0
    # No dimension gets more than 7 bits, though the codes have room.
    assert rates_of(importance, 1000) == pytest.approx([7] * 5)


@pytest.mark.parametrize(
    ("falling", "size", "starts"),
    [
        ([4, 4, 4, 4], 2, [0, 2, 4]),
        ([7, 1, 0, 0, 0], 2, [0, 1, 5]),
        ([7, 0, 0], 3, [0, 1, 2, 3]),
        ([1, 1, 1], 3, [0, 1, 2, 3]),
        ([0, 0, 0, 0], 2, [0, 3, 4]),
        ([7, 7, 1, 1, 1, 1, 1, 1], 4, [0, 1, 2, 3, 8]),
        ([5], 1, [0, 1]),
    ],
)
def test_parts_have_equal_rates_and_at_least_one_dimension(falling: list[float], size: int, starts: list[int]) -> None:
    found = starts_of(np.array(falling, dtype=np.float64), size)
    assert found[0] == 0
    assert found[-1] == len(falling)
    assert (np.diff(found) >= 1).all()
    if falling[0]:
        assert found.tolist() == starts


def test_an_int8_code_scores_with_its_own_item_as_the_vector_does() -> None:
    # Vectors of a gallery may be a little longer or shorter than 1.
    vectors = clustered(200, 48) * np.linspace(0.992, 1.008, 200, dtype=np.float32)[:, None]
    codec = int8_codec(48)
    codes = codec.encode(vectors)
    scales, cosines = codec.fit(vectors, codes)
    own = [float(codec.codes.scores(vectors[n], codes[n : n + 1], scales[n : n + 1])[0]) for n in range(200)]
    assert own == pytest.approx((vectors.astype(np.float64) ** 2).sum(axis=1), abs=1e-3)
    assert cosines.min() > 0.999


def test_factors_bring_the_decoded_vector_as_near_as_it_can_come() -> None:
    vectors = clustered(100, 32)
    codec = train_codec(clustered(400, 32), 6)
    codes = codec.encode(vectors)
    scales, cosines = codec.fit(vectors, codes)
    decoded = codec.codes.decode(codes)
    errors = [((vectors - factor * decoded * scales[:, None]) ** 2).sum(axis=1) for factor in (0.98, 1.0, 1.02)]
    assert (errors[1] <= np.minimum(errors[0], errors[2])).all()
    lengths = np.linalg.norm(decoded, axis=1) * np.linalg.norm(vectors, axis=1)
    assert cosines == pytest.approx(((vectors * decoded).sum(axis=1) / lengths) ** 2, abs=1e-5)


def test_training_is_repeatable_and_takes_fewer_vectors_than_centroids() -> None:
    vectors = clustered(40, 16)
    assert train_codec(vectors, 4).section == train_codec(vectors, 4).section
    one = train_codec(vectors[:1], 4)
    decoded = one.codes.decode(one.encode(vectors[:1]))
    assert decoded == pytest.approx(vectors[:1], abs=1e-3)
    assert int8_codec(16).described.id != int8_codec(17).described.id
    assert train_codec(vectors, 4).described.id != one.described.id


def naive_recall(vectors: Float32, codec: Codec, rows: list[int]) -> float:
    codes = codec.encode(vectors)
    decoded = codec.codes.decode(codes) * codec.fit(vectors, codes)[0][:, None]
    shares = []
    for row in rows:
        others = [n for n in range(len(vectors)) if n != row]
        exact = sorted(others, key=lambda n: -float(vectors[row] @ vectors[n]))[:10]
        found = sorted(others, key=lambda n: -float(vectors[row] @ decoded[n]))[:10]
        shares.append(len(set(exact) & set(found)) / len(exact))
    return float(np.mean(shares))


@pytest.mark.parametrize("batch", [7, 1000])
@pytest.mark.parametrize("count", [5, 11, 300])
def test_recall_is_that_of_a_naive_count_however_the_gallery_is_cut(count: int, batch: int) -> None:
    vectors = clustered(count, 32)
    codec = train_codec(vectors[: max(3, count // 3)], 4)
    labels = np.arange(count, dtype=np.int64) * 3 + 1
    rows = spread_rows(count, QUERIES)
    meter = RecallMeter(labels[rows], vectors[rows])
    for start in range(0, count, batch):
        part = vectors[start : start + batch]
        codes = codec.encode(part)
        meter.see(labels[start : start + batch], part, codec, codes, codec.fit(part, codes)[0])
    recall = meter.recall()
    assert recall is not None
    assert recall.queries == len(rows)
    assert recall.value == pytest.approx(naive_recall(vectors, codec, rows.tolist()), abs=0.002)


def test_copies_of_one_photo_are_equally_good_answers() -> None:
    vectors = np.repeat(clustered(4, 32), 30, axis=0)
    codec = int8_codec(32)
    meter = RecallMeter(np.arange(120), vectors)
    codes = codec.encode(vectors)
    meter.see(np.arange(120), vectors, codec, codes, codec.fit(vectors, codes)[0])
    recall = meter.recall()
    assert recall is not None
    assert recall.value == 1


def test_nothing_to_find_is_no_recall() -> None:
    assert RecallMeter(np.zeros(0, np.int64), np.zeros((0, 8), np.float32)).recall() is None
    assert (spread_rows(0, 256).tolist(), spread_rows(3, 256).tolist(), len(spread_rows(5000, 256))) == (
        [],
        [0, 1, 2],
        256,
    )
