"""Measuring a pair of encoders as a manifest defines it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from askew_training.data.photo_sets import read_manifest
from askew_training.errors import DataError
from askew_training.evaluate.benchmark import benchmarks_in, measure, rank_benchmark
from askew_training.evaluate.ranking import TOGETHER
from tests.support.training_helpers import MANIFEST_HEADER, picture
from tests.training.evaluate.revisited.truths import conditions

ROWS = """q0.png,a,query,walls,north
q1.png,b,query,walls,south
g0.png,a,gallery,walls,north
g1.png,b,gallery,walls,south
g2.png,,gallery,walls,far
g3.png,a,gallery,walls,north
t0.png,x,train,train,north
"""


@pytest.fixture
def manifest(tmp_path):
    for i, line in enumerate(ROWS.splitlines()):
        Image.fromarray(picture(64, 80, i)).save(tmp_path / line.split(",")[0])
    path = tmp_path / "manifest.csv"
    path.write_text(MANIFEST_HEADER + ROWS)
    return path


def unit(*values):
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


VECTORS = {
    "q0.png": unit(1, 0, 0),
    "q1.png": unit(0, 1, 0),
    "g0.png": unit(1, 0.1, 0),
    "g1.png": unit(0.2, 0.5, 1),
    "g2.png": unit(0, 1, 0.1),
    "g3.png": unit(0.4, 0.4, 1),
}


def described(paths):
    return {path: VECTORS[path.name] for path in paths}


def test_every_query_searches_the_whole_gallery_of_its_benchmark(manifest):
    photos = read_manifest(manifest)
    scores = measure(photos, "walls", described, described)
    assert benchmarks_in(photos) == ["walls"]
    assert scores.gallery == 4
    # a: ranks 0 and 1 of 2 → 1; b: behind the distractor g2 → (0 + 1/2) / 2.
    assert scores.by_set["north"].mean_average_precision == pytest.approx(1.0)
    assert scores.by_set["south"].mean_average_precision == pytest.approx(0.25)
    assert scores.by_set[TOGETHER].mean_average_precision == pytest.approx(0.625)
    assert scores.by_set[TOGETHER].precision_at_1 == pytest.approx(0.5)


def test_photos_that_cannot_be_described_count_as_not_found(manifest):
    photos = read_manifest(manifest)
    without = lambda missing: lambda paths: {p: VECTORS[p.name] for p in paths if p.name != missing}  # noqa: E731
    assert measure(photos, "walls", without("q1.png"), described).by_set["south"].mean_average_precision == 0
    lost = measure(photos, "walls", described, without("g3.png")).by_set["north"]
    assert lost.mean_average_precision == pytest.approx(0.5)


def test_a_query_that_is_in_the_gallery_does_not_find_itself(manifest):
    manifest.write_text(MANIFEST_HEADER + ROWS + "q0.png,a,gallery,walls,north\n")
    scores = measure(read_manifest(manifest), "walls", described, described)
    assert scores.gallery == 5
    assert scores.by_set["north"].mean_average_precision == pytest.approx(1.0)


def test_a_benchmark_whose_queries_have_no_match_is_refused(manifest):
    manifest.write_text(MANIFEST_HEADER + ROWS.replace(",a,query", ",y,query").replace(",b,query", ",,query"))
    with pytest.raises(DataError, match="'walls': No query has a match"):
        measure(read_manifest(manifest), "walls", described, described)


def test_an_unknown_benchmark_is_refused(manifest):
    with pytest.raises(DataError, match="manifest has these benchmarks: walls"):
        measure(read_manifest(manifest), "covers", described, described)


JUDGED_ROWS = """path,instance_ids,role,benchmark,set,junk,bbox,ap
q0.png,a,query,walls,north,,,
q1.png,b,query,walls,south,,10 10 50 50,standard
q1.png,b,query,walls,south,,20 10 50 50,standard
g0.png,a;b,gallery,walls,north,,,
g1.png,b,gallery,walls,south,,,
g2.png,,gallery,walls,far,b;a,,
g3.png,a,gallery,walls,north,,,
"""


def by_path(views):
    return {view: VECTORS[getattr(view, "path", view).name] for view in views}


def test_judgements_of_the_manifest_are_followed(manifest):
    manifest.write_text(JUDGED_ROWS)
    outcome = rank_benchmark(read_manifest(manifest), "walls", by_path, by_path, values_at_once=5)
    # a: g0 and g3 are first. b: behind the junk g2 comes g1, then g3, then g0: standard (1/1 + 2/3) / 2.
    assert [each.result.average_precision for each in outcome.queries] == pytest.approx([1, 5 / 6, 5 / 6])
    assert [each.ranks.tolist() for each in outcome.queries] == [[0, 1], [0, 2], [0, 2]]
    assert outcome.queries[1].result.first[0].relevance == "junk"
    assert outcome.scores.by_set["south"].mean_average_precision == pytest.approx(5 / 6)
    side = conditions().queries
    trapezoid, standard = outcome.measurements(side, side, {}, {"none": []})
    assert (trapezoid.average_precision, standard.average_precision) == ("trapezoid", "standard")
    assert [each.id for each in standard.results] == ["q1.png", "q1.png#2"]
    assert (standard.dataset, standard.protocol, standard.gallery_photos) == ("walls", "instances", 4)
    assert not standard.excluded


def test_two_definitions_in_a_set_are_refused(manifest):
    manifest.write_text(JUDGED_ROWS.replace("20 10 50 50,standard", "20 10 50 50,trapezoid"))
    with pytest.raises(DataError, match=r"'south' have the ap trapezoid and standard, such as q1\.png"):
        rank_benchmark(read_manifest(manifest), "walls", by_path, by_path)


def test_a_long_gallery_is_measured_in_parts(manifest):
    photos = read_manifest(manifest)
    whole, parts = (rank_benchmark(photos, "walls", described, described, size) for size in (1 << 20, 1))
    assert [each.result for each in whole.queries] == [each.result for each in parts.queries]
