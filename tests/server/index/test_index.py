"""The index of a gallery finds what a search of all vectors finds, whatever was added, removed and built meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_server.index import segmented, slices
from askew_server.index.build import build_main
from askew_server.index.exact import BLOCK, ExactSegment
from askew_server.index.faiss_library import import_faiss
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import open_main
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import CodedKind
from tests.support.gallery_vectors import Given, Labels, Vectors, clustered, nearest, recall

DIM = 64
COUNT = 6_000
VECTORS = clustered(COUNT + 2_000, DIM, seed=1)
QUERIES = clustered(COUNT + 2_000, DIM, seed=1)[::80] * 0.8 + clustered(100, DIM, seed=2) * 0.6
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a main segment of the labels 1 to 6,000."""
    folder = tmp_path_factory.mktemp("built")
    build_main(Given(VECTORS[:COUNT]), folder, "two-stage", lambda _: None)
    return folder


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, searched in slices, as large segments are."""
    folder = tmp_path_factory.mktemp("sliced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "_ROWS", 1_400)
        record = build_main(Given(VECTORS[:COUNT]), folder, "two-stage", lambda _: None)
    assert record.calibration.slices == 4
    return folder


@pytest.fixture
def main(built: Path) -> MainSegment:
    return opened(built)


def opened(folder: Path, dim: int = DIM) -> MainSegment:
    main, damage = open_main(folder, dim)
    assert damage is None
    assert main is not None
    return main


def stored(labels: Labels) -> dict[int, Vectors]:
    return {int(label): VECTORS[label - 1] for label in labels}


def every(count: int) -> Labels:
    return np.arange(1, count + 1)


def test_an_exact_index_finds_the_true_nearest_alone_and_in_a_batch() -> None:
    index = SegmentedIndex(DIM)
    index.add(every(5_000), VECTORS[:5_000])
    batch = index.search(QUERIES, 20, None, False)
    for query, row in zip(QUERIES, batch, strict=True):
        assert index.search(query[None], 20, None, False)[0].tolist() == row.tolist()
        assert row.tolist() == nearest(stored(every(5_000)), query, 20)
    assert index.exact
    assert index.name == "exact"


def test_of_equal_vectors_the_smallest_labels_are_found() -> None:
    index = SegmentedIndex(DIM)
    index.add(np.arange(101, 151), np.repeat(VECTORS[:1], 50, axis=0))
    index.add(np.arange(1, 51), np.repeat(VECTORS[:1], 50, axis=0))
    assert index.search(VECTORS[:1], 7, None, False)[0].tolist() == [1, 2, 3, 4, 5, 6, 7]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_the_nearest_come_by_score_then_label_however_many_are_equal(
    count: int, limit: int, asked: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Components of -1, 0 and 1: sums without rounding, and a few different ones.
    vectors = random.integers(-1, 2, (count, 4)).astype(np.float32)
    queries = random.integers(-1, 2, (asked, 4)).astype(np.float32)
    labels = random.permutation(10 * count)[:count].astype(np.int64)
    segment = ExactSegment(import_faiss(), 4)
    segment.add(labels, vectors)
    found = segment.search(queries, limit, None, False)
    for scores, row, query in zip(found.scores, found.labels, queries, strict=True):
        expected = sorted(zip((-vectors @ query).tolist(), labels.tolist(), strict=True))[:limit]
        assert list(zip((-scores).tolist(), row.tolist(), strict=True)) == expected


def test_a_product_split_over_threads_is_the_same() -> None:
    labels = every(3 * BLOCK + 5)[:7_000]
    faiss = import_faiss()
    one, three = ExactSegment(faiss, DIM, 1), ExactSegment(faiss, DIM, 3)
    for segment in (one, three):
        segment.add(labels, VECTORS[:7_000])
    for queries in (QUERIES[:1], QUERIES):
        found = [segment.search(queries, 9, None, False) for segment in (one, three)]
        np.testing.assert_array_equal(found[0].labels, found[1].labels)


def test_removing_from_an_exact_index_moves_no_other_vector() -> None:
    index = SegmentedIndex(DIM)
    index.add(every(3 * BLOCK), VECTORS[: 3 * BLOCK])
    for gone in (np.array([1, 2, 3 * BLOCK]), np.arange(500, 2_500), np.array([9_999])):
        index.remove(gone)
        left = np.setdiff1d(index.labels(), gone)
        np.testing.assert_array_equal(index.labels(), left)
        for label in left[:: len(left) // 40]:
            assert index.search(VECTORS[label - 1 : label], 1, None, False)[0, 0] == label


@pytest.mark.parametrize(
    ("kind", "dim"), [("two-stage", 256), ("two-stage", 69), ("ivf-two-stage", 100), ("ivf-two-stage", 64)]
)
def test_a_coded_main_reaches_the_recall_that_it_states(kind: CodedKind, dim: int, tmp_path: Path) -> None:
    vectors = clustered(3_000, dim, seed=3)
    queries = vectors[2_700:]
    record = build_main(Given(vectors[:2_700]), tmp_path, kind, lambda _: None)
    index = SegmentedIndex(dim, opened(tmp_path, dim), kind)
    truth = {label: vectors[label - 1] for label in range(1, 2_701)}
    found = index.search(queries, index.to_fetch(10, exact=False), None, False)
    assert recall(found, truth, queries) >= 0.985
    assert record.calibration.recall_at_10 >= 0.99
    statistics = index.statistics()
    assert statistics.recall_at_10 == record.calibration.recall_at_10
    assert (statistics.kind, statistics.exact, statistics.main, statistics.generation) == (kind, False, 2_700, 1)
    assert statistics.bytes_mapped >= 2_700 * (dim + 8)


def test_codes_of_single_queries_are_those_of_a_batch(main: MainSegment) -> None:
    index = SegmentedIndex(DIM, main, "two-stage")
    batch = index.search(QUERIES, 18, None, False)
    singles = [index.search(query[None], 18, None, False)[0] for query in QUERIES]
    np.testing.assert_array_equal(batch, np.array(singles))


@pytest.mark.parametrize("limit", [1, 10, 100])
def test_an_exact_search_finds_the_true_nearest_by_the_codes(main: MainSegment, limit: int) -> None:
    index = SegmentedIndex(DIM, main, "two-stage")
    index.remove(np.arange(100, 400))
    found = index.search(QUERIES, index.to_fetch(limit, exact=True), None, True)
    truth = stored(np.setdiff1d(every(COUNT), np.arange(100, 400)))
    assert recall(found, truth, QUERIES, limit) == 1.0


@pytest.mark.parametrize("share", [1.0, 0.5, 0.05, 0.001, 0.0])
@pytest.mark.parametrize("kind", ["exact", "two-stage", "sliced"])
def test_recall_under_a_filter_is_recall_without_one(built: Path, sliced: Path, kind: str, share: float) -> None:
    index = SegmentedIndex(DIM, None if kind == "exact" else opened(built if kind == "two-stage" else sliced))
    index.add(*((every(COUNT), VECTORS[:COUNT]) if kind == "exact" else (np.array([COUNT + 1]), VECTORS[COUNT:][:1])))
    removed = np.arange(5, COUNT, 11)
    index.remove(removed)
    random = np.random.default_rng(4)
    allowed = every(COUNT)[random.random(COUNT) < share]
    found = index.search(QUERIES, 18, allowed, False)
    truth = stored(np.setdiff1d(allowed, removed))
    assert set(found.ravel().tolist()) <= {*truth, -1}
    if truth:
        assert recall(found, truth, QUERIES) >= 0.99
    wanted = min(18, len(truth))
    assert np.all(found[:, :wanted] > 0)
    assert np.all(found[:, wanted:] == -1)


def test_a_filter_that_admits_only_far_vectors_is_met_as_well(main: MainSegment) -> None:
    index = SegmentedIndex(DIM, main)
    query = QUERIES[:1]
    far = np.sort(np.argsort(VECTORS[:COUNT] @ query[0])[:3_000] + 1)
    found = index.search(query, 18, far, False)
    assert recall(found, stored(far), query) >= 0.9
    assert np.all(found > 0)


@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_a_filter_over_labels_with_gaps(tmp_path: Path, step: int) -> None:
    labels = np.arange(1, 1_201) * step

    class Spread(Given):
        def covered(self) -> tuple[int, Labels]:
            return int(labels[-1]), labels

        def batches(self, asked: Labels) -> Iterator[tuple[Labels, Vectors]]:
            yield asked, self.vectors[asked // step - 1]

    build_main(Spread(VECTORS[:1_200]), tmp_path, "two-stage", lambda _: None)
    index = SegmentedIndex(DIM, opened(tmp_path))
    # Labels between, before and behind those that there are admit nothing.
    for allowed in (np.arange(-5, 900 * step), labels[::2], labels[:3], labels[-1] + np.arange(1, 500)):
        admitted = {int(label): VECTORS[label // step - 1] for label in np.intersect1d(allowed, labels)}
        found = index.search(QUERIES, 18, allowed, False)
        assert set(found.ravel().tolist()) <= {*admitted, -1}
        assert not admitted or recall(found, admitted, QUERIES) >= 0.985


def test_slices_find_what_the_whole_finds(main: MainSegment, sliced: Path) -> None:
    whole, cut = SegmentedIndex(DIM, main), SegmentedIndex(DIM, opened(sliced))
    for index in (whole, cut):
        index.add(np.arange(COUNT + 1, COUNT + 1_001), VECTORS[COUNT : COUNT + 1_000])
    for exact in (False, True):
        found = [index.search(QUERIES, index.to_fetch(10, exact=exact), None, exact) for index in (whole, cut)]
        assert [recall(each, stored(every(COUNT + 1_000)), QUERIES) >= 0.992 for each in found] == [True, True]
    # Every row of a slice, and more than it has.
    assert sorted(cut.search(QUERIES[:1], COUNT + 1_000, None, True)[0].tolist()) == every(COUNT + 1_000).tolist()
    assert cut.search(QUERIES, 7, np.array([1, 2, COUNT]), False)[0, 3:].tolist() == [-1] * 4


def test_removed_vectors_are_not_found_even_when_they_were_all_the_nearest(main: MainSegment) -> None:
    index = SegmentedIndex(DIM, main)
    query = QUERIES[:1]
    near = np.argsort(-(VECTORS[:COUNT] @ query[0]))[:800] + 1
    index.remove(near)
    found = index.search(query, 18, None, False)
    assert not set(found[0].tolist()) & set(near.tolist())
    assert recall(found, stored(np.setdiff1d(every(COUNT), near)), query) >= 0.9
    assert len(index) == COUNT - 800
    assert index.statistics().removed == 800


def test_new_vectors_are_found_at_once_while_the_tail_grows(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmented, "FRESH", 100)
    index = SegmentedIndex(DIM, opened(built))
    for start in range(COUNT, COUNT + 1_200, 60):
        labels = np.arange(start + 1, start + 61)
        index.add(labels, VECTORS[labels - 1])
        last = VECTORS[labels[-1] - 1][None]
        assert index.search(last, 1, None, False)[0, 0] == labels[-1]
    truth = stored(every(COUNT + 1_200))
    assert index.statistics().tail == 1_200
    assert index.statistics().bytes_memory < 1_200 * DIM * 4 + segmented.FRESH * DIM * 4 + (1 << 21)
    queries = VECTORS[COUNT : COUNT + 1_200 : 7]
    assert recall(index.search(queries, 18, None, False), truth, queries) >= 0.985
    allowed = np.arange(COUNT - 300, COUNT + 600)
    assert recall(index.search(queries, 18, allowed, False), stored(allowed), queries) >= 0.985


def test_a_new_main_takes_over_while_tails_and_removals_exist(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmented, "FRESH", 100)
    index = SegmentedIndex(DIM, opened(built))
    index.add(np.arange(COUNT + 1, COUNT + 801), VECTORS[COUNT : COUNT + 800])
    index.remove(np.arange(10, 30))
    build_main(Given(VECTORS[: COUNT + 500]), tmp_path, "two-stage", lambda _: None)
    before = index.labels()
    # Removed while the build ran: it is in the new main.
    index.remove(np.array([40, COUNT + 20, COUNT + 600]))
    index.replace_main(opened(tmp_path))
    left = np.setdiff1d(before, [40, COUNT + 20, COUNT + 600])
    np.testing.assert_array_equal(index.labels(), left)
    assert len(index) == len(left)
    assert index.statistics().main == COUNT + 500
    assert index.statistics().tail >= 299
    assert recall(index.search(QUERIES, 18, None, False), stored(left), QUERIES) >= 0.99
    for label in (1, 39, COUNT + 19, COUNT + 501, COUNT + 800):
        assert label in index.search(VECTORS[label - 1][None], 18, None, False)[0]
    index.add(np.arange(COUNT + 801, COUNT + 1_101), VECTORS[COUNT + 800 : COUNT + 1_100])
    assert index.search(VECTORS[COUNT + 1_000][None], 1, None, False)[0, 0] == COUNT + 1_001


def test_the_first_main_takes_over_from_the_exact_segment(main: MainSegment) -> None:
    index = SegmentedIndex(DIM)
    index.add(every(COUNT + 50), VECTORS[: COUNT + 50])
    memory = index.statistics().bytes_memory
    index.replace_main(main)
    assert index.statistics().tail == 50
    assert index.statistics().bytes_memory < memory
    np.testing.assert_array_equal(index.labels(), every(COUNT + 50))


def test_an_index_says_why_it_wants_to_be_built_anew(main: MainSegment, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SegmentedIndex(DIM, main, "two-stage")
    assert index.wants_rebuild() is None
    index.remove(np.arange(1, 1_202))
    assert index.wants_rebuild() == "removed"
    monkeypatch.setattr(segmented, "TAIL", 100)
    index.add(np.arange(COUNT + 1, COUNT + 1_602), VECTORS[COUNT : COUNT + 1_601])
    assert index.wants_rebuild() == "tail"
    index.wanted = "exact"
    assert index.wants_rebuild() == "kind"


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "replace", "rebuild", "search"]), st.integers(1, 60), st.integers(0, 10**6)
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def mains(built: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Main segments that cover the first 6,000 and the first 7,000 labels."""
    later = tmp_path_factory.mktemp("later")
    build_main(Given(VECTORS[: COUNT + 1_000]), later, "two-stage", lambda _: None)
    return [built, later]


def test_any_sequence_of_changes_leaves_what_a_dictionary_holds(
    mains: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmented, "FRESH", 64)

    @settings(max_examples=40)
    @given(OPERATIONS, st.booleans())
    def run(operations: list[tuple[str, int, int]], has_main: bool) -> None:
        index = SegmentedIndex(DIM, opened(mains[0]) if has_main else None)
        held = stored(every(COUNT)) if has_main else {}
        label = COUNT
        for name, count, seed in operations:
            random = np.random.default_rng(seed)
            some = random.choice(list(held), min(count, len(held)), replace=False) if held else every(0)
            if name == "remove" or name == "replace":
                index.remove(some.astype(np.int64))
                for each in some.tolist():
                    del held[each]
            if name in {"add", "replace"}:
                added = np.arange(label + 1, label + 1 + count)
                index.add(added, VECTORS[added - 1])
                held.update(stored(added))
                label += count
            if name == "rebuild" and has_main and label >= COUNT + 1_000:
                index.replace_main(opened(mains[1]))
            if name == "search" and held:
                query = VECTORS[random.choice(list(held)) - 1][None]
                found = index.search(query, 5, None, True)[0]
                assert set(found.tolist()) <= {*held, -1}
                assert nearest(held, query[0], 1)[0] in found
            assert len(index) == len(held)
            np.testing.assert_array_equal(index.labels(), np.sort(np.array(list(held), dtype=np.int64)))
        missing = index.search(VECTORS[:1], 3, np.array([10**9]), False)
        assert missing.tolist() == [[-1, -1, -1]]

    run()


def test_what_was_replaced_can_be_deleted_while_it_is_searched(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    index = SegmentedIndex(DIM, opened(folder))
    before = index.search(QUERIES, 10, None, False)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(index.search(QUERIES, 10, None, False), before)
