from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from askew_client import Encoder
from askew_training.data.photo_sets import photos_in, read_licences, read_manifest, sources_of
from askew_training.errors import DataError
from askew_training.evaluate import ranking
from askew_training.evaluate.benchmark import benchmarks_in, measure
from askew_training.evaluate.ranking import TOGETHER, rank_scores
from askew_training.evaluate.report import Report, manifest_metrics
from askew_training.export.write import write_encoder
from askew_training.vectors.descriptor_cache import DescriptorCache
from tests.support.training_helpers import CARD, checkpoint_of, picture

HEADER = "path,instance_id,role,benchmark,set\n"
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
    path.write_text(HEADER + ROWS)
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
    manifest.write_text(HEADER + ROWS + "q0.png,a,gallery,walls,north\n")
    scores = measure(read_manifest(manifest), "walls", described, described)
    assert scores.gallery == 5
    assert scores.by_set["north"].mean_average_precision == pytest.approx(1.0)


def test_a_benchmark_whose_queries_have_no_match_is_refused(manifest):
    manifest.write_text(HEADER + ROWS.replace(",a,query", ",y,query").replace(",b,query", ",,query"))
    with pytest.raises(DataError, match="'walls': No query has a match"):
        measure(read_manifest(manifest), "walls", described, described)


def brute_force(query, gallery, instance, instances, own):
    """Average precision straight from its definition, over a list of hits."""
    hits = sorted(
        (-round(float(vector @ query), 6), row)
        for row, vector in enumerate(gallery)
        if row != own and not np.isnan(vector @ query)
    )
    right = [bool(instance) and instances[row] == instance for _, row in hits]
    positives = sum(bool(instance) and other == instance for row, other in enumerate(instances) if row != own)
    total = 0.0
    for place, is_right in enumerate(right):
        if is_right:
            before = sum(right[:place])
            total += ((before / place if place else 1.0) + (before + 1) / (place + 1)) / 2
    return total / positives if positives else None


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), queries=st.integers(1, 6), others=st.integers(1, 12), kinds=st.integers(1, 4),
    at_once=st.integers(1, 40),
)  # fmt: skip
def test_scores_of_arrays_are_those_of_the_definition(seed, queries, others, kinds, at_once):
    random = np.random.default_rng(seed)
    # Few distinct values, so that there are ties; some photos without a vector.
    vectors = random.integers(-1, 2, (queries + others, 3)).astype(np.float32) / 2
    vectors[random.random(len(vectors)) < 0.1] = np.nan
    instances = [str(kind or "") for kind in random.integers(0, kinds + 1, len(vectors))]
    sets = [str(kind) for kind in random.integers(0, 2, queries)]
    itself = [row if random.random() < 0.7 else -1 for row in range(queries)]
    expected = [brute_force(vectors[row], vectors, instances[row], instances, itself[row]) for row in range(queries)]
    with mock.patch.object(ranking, "VALUES_AT_ONCE", at_once):
        if all(value is None for value in expected):
            with pytest.raises(DataError, match="No query has a match"):
                rank_scores(vectors[:queries], vectors, instances[:queries], instances, sets, itself)
            return
        scores = rank_scores(vectors[:queries], vectors, instances[:queries], instances, sets, itself)
    for name in {TOGETHER, *sets}:
        own = [
            value for value, each in zip(expected, sets, strict=True) if name in (each, TOGETHER) and value is not None
        ]
        assert (name in scores) == bool(own)
        if own:
            assert scores[name].mean_average_precision == pytest.approx(np.mean(own))
            assert scores[name].queries == len(own)


def test_arrays_that_do_not_fit_are_refused():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="a place for each of 3 queries"):
        rank_scores(vectors, vectors, ["a"] * 3, ["a"] * 3, ["s"] * 3, [0])
    with pytest.raises(DataError, match="one dimension"):
        rank_scores(vectors, vectors[:, :2], ["a"] * 3, ["a"] * 3, ["s"] * 3)
    with pytest.raises(DataError, match="got 2 instances"):
        rank_scores(vectors, vectors, ["a"] * 3, ["a"] * 2, ["s"] * 3)


def test_unknown_benchmark_is_refused(manifest):
    with pytest.raises(DataError, match="manifest has: walls"):
        measure(read_manifest(manifest), "covers", described, described)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,role\n", "no column 'instance_id'"),
        (HEADER + "a.png,x,judge,walls,north\n", "line 2: expected the role"),
        (HEADER + "a.png,x\n", "line 2: expected 5 values"),
        ("", "no column"),
    ],
)
def test_manifests_that_do_not_hold_together_are_refused(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_manifest(path)


def test_files_that_are_no_manifest_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="no CSV file in UTF-8"):
        read_manifest(tmp_path / "binary.csv")


def test_folders_make_sets_and_every_set_needs_a_licence(manifest, tmp_path):
    (tmp_path / "inner").mkdir()
    Image.fromarray(picture(40, 40)).save(tmp_path / "inner" / "a.JPG", format="JPEG")
    photos = photos_in(tmp_path)
    assert {photo.set_name for photo in photos} == {tmp_path.name, "inner"}
    with pytest.raises(DataError, match="No licence is stated for inner"):
        sources_of(photos, {tmp_path.name: "CC0"})
    sources = sources_of(photos, {tmp_path.name: "CC0", "inner": "none stated"})
    assert [(source.name, source.photos) for source in sources if source.name == "inner"] == [("inner", 1)]
    with pytest.raises(DataError, match="is none"):
        photos_in(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photo"):
        photos_in(tmp_path / "empty")


def test_licences_are_a_toml_table(tmp_path):
    path = tmp_path / "licences.toml"
    path.write_text('[licences]\nnorth = "CC0"\n')
    assert read_licences(path) == {"north": "CC0"}
    path.write_text("[other]\n")
    with pytest.raises(DataError, match=r"no table \[licences\]"):
        read_licences(path)
    path.write_text("not toml")
    with pytest.raises(DataError, match="no TOML"):
        read_licences(path)


def test_vectors_are_computed_once(manifest, network, tmp_path, monkeypatch):
    file = tmp_path / "tiny.onnx"
    write_encoder(checkpoint_of(network), CARD, file)
    paths = [tmp_path / "q0.png", tmp_path / "g0.png", manifest, tmp_path / "missing.png"]
    steps = []
    first = DescriptorCache(tmp_path / "cache", file).describe(paths, lambda: steps.append(1))
    assert (len(steps), len(first.unreadable), list(first.vectors)) == (4, 2, paths[:2])
    np.testing.assert_array_equal(first.vectors[paths[0]], Encoder(file).encode(paths[0])[0])
    monkeypatch.setattr(Encoder, "encode_pixels", None)
    again = DescriptorCache(tmp_path / "cache", file).describe(paths[:2], lambda: None)
    np.testing.assert_array_equal(again.vectors[paths[0]], first.vectors[paths[0]])


def test_what_was_described_before_an_interruption_is_kept(manifest, network, tmp_path):
    file = tmp_path / "tiny.onnx"
    write_encoder(checkpoint_of(network), CARD, file)
    paths = [tmp_path / name for name in ("q0.png", "q1.png", "g0.png", "g1.png")]
    steps = []

    def interrupt():
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DescriptorCache(tmp_path / "cache", file).describe(paths, interrupt)
    kept = np.load(next((tmp_path / "cache").iterdir()))["photos"]
    assert len(kept) == 2


def test_a_damaged_cache_is_computed_again(manifest, network, tmp_path):
    file = tmp_path / "tiny.onnx"
    write_encoder(checkpoint_of(network), CARD, file)
    cache = DescriptorCache(tmp_path / "cache", file)
    cache.describe([tmp_path / "q0.png"], lambda: None)
    cache.path.write_bytes(cache.path.read_bytes()[:100])
    described = DescriptorCache(tmp_path / "cache", file).describe([tmp_path / "q0.png"], lambda: None)
    assert len(described.vectors) == 1


def test_a_report_becomes_the_figures_of_a_manifest(manifest, tmp_path):
    scores = measure(read_manifest(manifest), "walls", described, described)
    report = Report("student@1", "teacher@1", "sp1-" + "0" * 32, (scores,))
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    assert json.loads(path.read_text())["kind"] == "asymmetric"
    figures = manifest_metrics([path])
    assert figures["asymmetric.walls.together.mAP"] == 0.625
    assert figures["asymmetric.queries"] == "student@1"
    path.write_text("{}")
    with pytest.raises(DataError, match="no report"):
        manifest_metrics([path])
