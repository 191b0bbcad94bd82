"""Google Landmarks v2: its solution file, and mAP@100 against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.landmarks.measuring import Conditions, measure_landmarks
from askew_training.evaluate.landmarks.solution import (
    LandmarkQuery,
    find_solution,
    image_path,
    read_index,
    read_solution,
)
from askew_training.evaluate.measurement import Side
from tests.support.training_helpers import unit_vectors

SIDE = Side(encoder="s@1", sha256="0" * 64, space_id="sp1-" + "0" * 32, dim=8, photo_size=512, scales=(1.0,))
CONDITIONS = Conditions(SIDE, SIDE, excluded={"index: images that were not fetched": ("gone",)})


def defined(order: list[int], positives: set[int]) -> float:
    """1/min(m, 100) · Σ_{k ≤ 100} P(k) · rel(k), term by term."""
    total = 0.0
    for k in range(1, 101):
        if k <= len(order) and order[k - 1] in positives:
            total += sum(row in positives for row in order[:k]) / k
    return total / min(len(positives), 100)


@pytest.mark.parametrize("count", [1, 5, 100, 140])
def test_average_precision_is_that_of_the_challenge(count: int) -> None:
    """Each query's photos are found in the order of one argsort; with more than 100 positives the best is 1."""
    random = np.random.default_rng(count)
    index = unit_vectors(400, 8, 1)
    ids = [f"abc{row:05}" for row in range(400)]
    vectors = unit_vectors(6, 8, 2)
    chosen = [set(random.choice(400, count, replace=False).tolist()) for _ in vectors]
    # One query finds all of its positives first.
    chosen[0] = set(np.argsort(-(index @ vectors[0]), kind="stable")[:count].tolist())
    queries = [
        LandmarkQuery(f"q{i:03}", tuple(ids[row] for row in sorted(rows)), "public" if i % 2 else "private")
        for i, rows in enumerate(chosen)
    ]
    blocks = [index[start : start + 37] for start in range(0, 400, 37)]
    public, private = measure_landmarks(queries, vectors, ids, blocks, CONDITIONS)
    assert (public.protocol, private.protocol, public.metric) == ("public", "private", "mAP@100")
    assert [each.id for each in private.results] == ["q000", "q002", "q004"]
    results = {each.id: each for part in (public, private) for each in part.results}
    for i, (vector, rows) in enumerate(zip(vectors, chosen, strict=True)):
        order = np.argsort(-(index @ vector), kind="stable").tolist()
        result = results[f"q{i:03}"]
        assert result.average_precision == pytest.approx(defined(order, rows), abs=1e-12)
        assert [found.id for found in result.first] == [ids[row] for row in order[:10]]
        assert result.precision[10] == pytest.approx(len(rows & set(order[:10])) / 10)
    assert results["q000"].average_precision == 1
    assert public.excluded == {"index: images that were not fetched": ("gone",)}


def test_positives_that_were_not_fetched_do_not_count() -> None:
    index = np.eye(4, dtype=np.float32)
    queries = [
        LandmarkQuery("qaa", ("aaa", "zzz"), "public"),
        LandmarkQuery("qbb", ("zzz", "yyy"), "public"),
        LandmarkQuery("qcc", ("ccc",), "public"),
    ]
    vectors = index[:3].copy()
    vectors[2] = np.nan
    (public,) = measure_landmarks(queries, vectors, ["aaa", "bbb", "ccc", "ddd"], [index], CONDITIONS)
    assert [(each.id, each.positives, each.average_precision) for each in public.results] == [
        ("qaa", 1, 1.0), ("qbb", 0, None),
    ]  # fmt: skip
    assert public.mean_average_precision == 1
    assert public.excluded["positives that the index lacks"] == ("zzz", "yyy")
    assert public.excluded["queries without positives"] == ("qbb",)
    with pytest.raises(DataError, match="vectors of 5 index images, got 4"):
        measure_landmarks(queries, vectors, [*"abcde"], [index], CONDITIONS)


def test_ignored_queries_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no retrieval_solution_v2\.1\.csv"):
        find_solution(tmp_path)
    long = " ".join(f"{row:016x}" for row in range(20_000))
    (tmp_path / "retrieval_solution_v2.1.csv").write_text(
        f"id,images,Usage\nq01,a01 b02,Public\nq02,None,Ignored\nq03,{long},Private\nq04,b02 a01,Private\n"
    )
    solution = read_solution(find_solution(tmp_path))
    assert solution.ignored == ("q02",)
    assert [(query.id, query.usage, len(query.positives)) for query in solution.queries] == [
        ("q01", "public", 2), ("q03", "private", 20_000), ("q04", "private", 2),
    ]  # fmt: skip
    assert solution.queries[0].landmark == solution.queries[2].landmark
    (tmp_path / "index.csv").write_text("id\na01\nb02\n")
    assert read_index(tmp_path / "index.csv") == ["a01", "b02"]
    assert image_path(Path("index"), "a01") == Path("index/a/0/1/a01.jpg")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "starts with ''"),
        ("id,images\nq01,a01\n", "Expected the columns id,images,Usage"),
        ("id,images,Usage\n", "no query of Usage Public or Private"),
        ("id,images,Usage\nq01,None,Ignored\n", "no query of Usage Public or Private"),
        ("id,images,Usage\nq01,a01,Secret\n", "line 2: expected the Usage Public, Private or Ignored, got 'Secret'"),
        ("id,images,Usage\nq01,../x,Public\n", "line 2: expected ids of images"),
        ("id,images,Usage\nq01,a01,Public\nq01,a01,Public\n", "line 3: expected the id of an image that no other"),
        ("id,images,Usage\n\udcff,a01,Public\n", "no text in UTF-8"),
    ],
)
def test_another_layout_is_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "solution.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=sentence):
        read_solution(tmp_path / "solution.csv")
