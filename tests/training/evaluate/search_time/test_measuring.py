"""Measuring a method: what counts as found, and how sure a difference is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from askew_training.data.photo_sets import Photo
from askew_training.errors import DataError
from askew_training.evaluate.benchmark import View
from askew_training.evaluate.measurement import Side
from askew_training.evaluate.search_time.described import held_out_benchmark, join
from askew_training.evaluate.search_time.measuring import measure_method
from askew_training.evaluate.search_time.plain import Plain
from askew_training.evaluate.search_time.table import rows_of
from tests.support.training_helpers import SPACE

SIDE = Side(encoder="small@1", sha256="0" * 64, space_id=SPACE, dim=3, photo_size=64, scales=(1.0,))


def photo(name: str, instance: str, role: str = "gallery") -> Photo:
    return Photo(Path(name), instance, role, "walls", "north", name)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


VECTORS = {
    Path("q0"): unit(1, 0, 0),
    Path("q1"): unit(0, 1, 0),
    Path("g0"): unit(1, 0.1, 0),
    Path("g1"): unit(0.2, 0.5, 1),
    Path("g2"): unit(0, 1, 0.1),
    Path("g3"): unit(0.4, 0.4, 1),
}
QUERIES = (photo("q0", "a", "query"), photo("q1", "b", "query"))
GALLERY = (photo("g0", "a"), photo("g1", "b"), photo("g2", ""), photo("g3", "a"))


def measured(queries=QUERIES, gallery=GALLERY, missing=""):
    known: dict[View, np.ndarray] = {path: vector for path, vector in VECTORS.items() if path.name != missing}
    described = join("walls", queries, gallery, (known, known), (SIDE, SIDE), np.empty((0, 3), np.float32))
    return measure_method(Plain(), described)


def precisions(found):
    return {each.id: each.average_precision for each in found.measurement.results}


def test_every_query_searches_the_whole_gallery():
    found = measured()
    # a: ranks 0 and 1 of 2; b: behind the distractor g2, (0 + 1/2) / 2.
    assert precisions(found) == {"q0": pytest.approx(1.0), "q1": pytest.approx(0.25)}
    assert found.measurement.settings == {"method": "plain"}
    assert found.measurement.gallery_photos == 4
    assert found.measurement.kind == "symmetric"
    assert found.bytes_per_vector == 12 and found.milliseconds > 0
    first = found.measurement.results[1].first
    assert [(each.id, each.relevance) for each in first[:2]] == [("g2", "wrong"), ("g1", "right")]
    assert first[0].score == pytest.approx(0.995037, abs=1e-6)


def test_photos_that_cannot_be_described_count_as_not_found():
    lost = measured(missing="g3")
    assert precisions(lost)["q0"] == pytest.approx(0.5)
    assert lost.measurement.results[0].positives == 2
    assert lost.measurement.excluded == {"cannot be described": ("g3",)}
    unseen = measured(missing="q1")
    assert precisions(unseen) == {"q0": pytest.approx(1.0), "q1": 0.0}
    with pytest.raises(DataError, match="No query of benchmark 'walls' can be read"):
        measured(queries=QUERIES[:1], missing="q0")


def test_a_query_does_not_find_itself_and_one_without_positives_is_not_counted():
    found = measured(gallery=(*GALLERY, photo("q0", "a")))
    assert precisions(found)["q0"] == pytest.approx(1.0)
    assert found.measurement.results[0].positives == 2
    assert precisions(measured(gallery=GALLERY[:1]))["q1"] is None


def test_every_row_of_a_querys_own_photo_is_known():
    gallery = (photo("q0", "a"), *GALLERY, photo("q0", "b"))
    known: dict[View, np.ndarray] = {path: vector for path, vector in VECTORS.items()}  # noqa: C416
    described = join("walls", QUERIES, gallery, (known, known), (SIDE, SIDE), np.empty((0, 3), np.float32))
    assert described.own.tolist() == [[0, 5], [-1, -1]]


def test_junk_is_removed_from_the_ranking():
    found = measured(gallery=(*GALLERY[:2], replace(GALLERY[2], junk_for=("b",)), GALLERY[3]))
    # Without g2, the first photo that is left for q1 is its own.
    assert precisions(found)["q1"] == pytest.approx(1.0)


def test_queries_of_two_definitions_are_not_mixed():
    with pytest.raises(DataError, match="two definitions of average precision"):
        measured(queries=(QUERIES[0], replace(QUERIES[1], set_name="south", average_precision="standard")))


def test_a_row_says_whether_a_method_is_better_than_plain_search():
    plain = measured()
    # Ten photos of each of two instances: one gains and one loses, so nothing is sure of a third.
    results = [
        each.model_copy(update={"id": f"{each.id}-{number}", "average_precision": 0.5})
        for each in plain.measurement.results
        for number in range(10)
    ]
    before = replace(plain, measurement=plain.measurement.model_copy(update={"results": tuple(results)}))

    def changed(gains):
        others = [each.model_copy(update={"average_precision": 0.5 + gains[each.instance]}) for each in results]
        return replace(plain, measurement=plain.measurement.model_copy(update={"results": tuple(others)}))

    together, unsure, *sets = rows_of(before, [before, changed({"a": 0.3, "b": -0.1})])
    assert together.difference is None and together.set_name == "together"
    assert unsure.difference is not None
    assert unsure.difference.difference == pytest.approx(0.1)
    assert unsure.difference.verdict == "inside the noise" and unsure.difference.instances == 2
    assert [row.set_name for row in sets] == ["north", "north"]
    assert rows_of(before, [before])[0].difference is None


def test_held_out_photos_become_queries_and_a_gallery():
    photos = [photo(f"{instance}{number}", instance, "train") for instance in "abcdefgh" for number in range(3)]
    photos += [photo("lone", "z", "train"), photo("loose", "", "train"), *QUERIES, *GALLERY]
    queries, gallery, others = held_out_benchmark(photos, 0.5, 0)
    held = {each.instance_id for each in queries}
    assert 0 < len(held) < 8 and all(each.id == f"{each.instance_id}0" for each in queries)
    assert {each.instance_id for each in gallery} - {"z"} == held
    assert not held & {each.instance_id for each in others} and "loose" in {each.id for each in others}
    assert len(queries) + len(gallery) + len(others) == 26
    with pytest.raises(DataError, match="no instance with two of them is held out"):
        held_out_benchmark(photos[24:], 0.5, 0)
