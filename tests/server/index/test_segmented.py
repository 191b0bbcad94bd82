"""Main segment, coded tails and fresh vectors together: what one index holds after vectors are coded, cut and replaced.

congruence.py tests what every index must do; this file tests the segments, with small sizes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_server.index.build import build_main
from askew_server.index.main_segment import MainSegment
from askew_server.index.on_disk import open_main
from askew_server.index.segmented import SegmentedIndex
from askew_server.index.types import CodedKind
from tests.support.gallery_vectors import Given, Labels, Vectors, clustered, nearest, recall
from tests.support.soak import examples

DIM = 32
COUNT = 2_400
VECTORS = clustered(COUNT + 2_000, DIM, seed=1)
QUERIES = VECTORS[::80] * 0.8 + clustered(55, DIM, seed=2) * 0.6
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a main segment of the labels 1 to 2,400."""
    folder = tmp_path_factory.mktemp("built")
    build_main(Given(VECTORS[:COUNT]), folder, "two-stage", lambda _: None)
    return folder


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, searched in slices, as large segments are."""
    folder = tmp_path_factory.mktemp("sliced")
    record = build_main(Given(VECTORS[:COUNT]), folder, "two-stage", lambda _: None, rows_per_slice=600)
    assert record.calibration.slices == 4
    return folder


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A main segment that covers 500 labels more."""
    folder = tmp_path_factory.mktemp("later")
    build_main(Given(VECTORS[: COUNT + 500]), folder, "two-stage", lambda _: None)
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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dim"), [("two-stage", 128), ("two-stage", 69), ("ivf-two-stage", 100)])
def test_a_coded_main_reaches_the_recall_that_it_states(kind: CodedKind, dim: int, tmp_path: Path) -> None:
    """Vectors that are cut into parts of 8, of 23 and of 10 components."""
    vectors = clustered(1_300, dim, seed=3)
    queries = vectors[1_200:]
    record = build_main(Given(vectors[:1_200]), tmp_path, kind, lambda _: None)
    index = SegmentedIndex(dim, opened(tmp_path, dim), kind)
    truth = {label: vectors[label - 1] for label in range(1, 1_201)}
    found = index.search(queries, index.to_fetch(10, exact=False), None, False)
    assert recall(found, truth, queries) >= 0.985
    assert record.calibration.recall_at_10 >= 0.99
    statistics = index.statistics()
    assert statistics.recall_at_10 == record.calibration.recall_at_10
    assert (statistics.kind, statistics.exact, statistics.main, statistics.generation) == (kind, False, 1_200, 1)
    assert statistics.bytes_mapped >= 1_200 * (dim + 8)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.001])
def test_recall_under_a_filter_in_slices(sliced: Path, share: float) -> None:
    index = SegmentedIndex(DIM, opened(sliced))
    removed = np.arange(5, COUNT, 11)
    index.remove(removed)
    allowed = every(COUNT)[np.random.default_rng(4).random(COUNT) < share]
    found = index.search(QUERIES, 18, allowed, False)
    truth = stored(np.setdiff1d(allowed, removed))
    assert set(found.ravel().tolist()) <= {*truth, -1}
    assert recall(found, truth, QUERIES) >= 0.99
    wanted = min(18, len(truth))
    assert np.all(found[:, :wanted] > 0)
    assert np.all(found[:, wanted:] == -1)


def test_slices_find_the_same_as_the_whole_segment(main: MainSegment, sliced: Path) -> None:
    whole, cut = SegmentedIndex(DIM, main), SegmentedIndex(DIM, opened(sliced))
    for index in (whole, cut):
        index.add(np.arange(COUNT + 1, COUNT + 501), VECTORS[COUNT : COUNT + 500])
    for exact in (False, True):
        found = [index.search(QUERIES, index.to_fetch(10, exact=exact), None, exact) for index in (whole, cut)]
        assert [recall(each, stored(every(COUNT + 500)), QUERIES) >= 0.99 for each in found] == [True, True]
    # Every row of a slice, and more than it has.
    assert sorted(cut.search(QUERIES[:1], COUNT + 500, None, True)[0].tolist()) == every(COUNT + 500).tolist()
    assert cut.search(QUERIES, 7, np.array([1, 2, COUNT]), False)[0, 3:].tolist() == [-1] * 4


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 1_000])
def test_a_filter_over_labels_with_gaps(tmp_path: Path, step: int) -> None:
    labels = np.arange(1, 1_001) * step

    class Spread(Given):
        def covered(self) -> tuple[int, Labels]:
            return int(labels[-1]), labels

        def batches(self, asked: Labels) -> Iterator[tuple[Labels, Vectors]]:
            yield asked, self.vectors[asked // step - 1]

    build_main(Spread(VECTORS[:1_000]), tmp_path, "two-stage", lambda _: None)
    index = SegmentedIndex(DIM, opened(tmp_path))
    # Labels between, before and behind the known ones admit nothing.
    for allowed in (np.arange(-5, 900 * step), labels[::2], labels[:3], labels[-1] + np.arange(1, 500)):
        admitted = {int(label): VECTORS[label // step - 1] for label in np.intersect1d(allowed, labels)}
        found = index.search(QUERIES, 18, allowed, False)
        assert set(found.ravel().tolist()) <= {*admitted, -1}
        assert not admitted or recall(found, admitted, QUERIES) >= 0.985


def test_new_vectors_are_found_at_once_while_the_tail_grows(built: Path) -> None:
    index = SegmentedIndex(DIM, opened(built), max_fresh=100)
    for start in range(COUNT, COUNT + 1_200, 60):
        labels = np.arange(start + 1, start + 61)
        index.add(labels, VECTORS[labels - 1])
        last = VECTORS[labels[-1] - 1][None]
        assert index.search(last, 1, None, False)[0, 0] == labels[-1]
    truth = stored(every(COUNT + 1_200))
    assert index.statistics().tail == 1_200
    # A block of fresh vectors, and codes instead of float32 for the others.
    assert index.statistics().bytes_memory < 1_200 * DIM * 4 + 100 * DIM * 4 + (1 << 19)
    queries = VECTORS[COUNT : COUNT + 1_200 : 7]
    assert recall(index.search(queries, 18, None, False), truth, queries) >= 0.985
    allowed = np.arange(COUNT - 300, COUNT + 600)
    assert recall(index.search(queries, 18, allowed, False), stored(allowed), queries) >= 0.985


def test_a_new_main_takes_over_while_tails_and_removals_exist(built: Path, later: Path) -> None:
    index = SegmentedIndex(DIM, opened(built), max_fresh=100)
    index.add(np.arange(COUNT + 1, COUNT + 801), VECTORS[COUNT : COUNT + 800])
    index.remove(np.arange(10, 30))
    before = index.labels()
    # As if removed while the build ran: the new main segment holds them.
    index.remove(np.array([40, COUNT + 20, COUNT + 600]))
    index.replace_main(opened(later))
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
    index.add(every(COUNT + 2_000), VECTORS)
    memory = index.statistics().bytes_memory
    index.replace_main(main)
    assert index.statistics().tail == 2_000
    assert index.statistics().bytes_memory < memory
    np.testing.assert_array_equal(index.labels(), every(COUNT + 2_000))


def test_an_index_reports_why_a_rebuild_pays(main: MainSegment) -> None:
    index = SegmentedIndex(DIM, main, "two-stage", min_tail_to_rebuild=100)
    assert index.wants_rebuild() is None
    index.remove(np.arange(1, 1_002))
    assert index.wants_rebuild() == "removed"
    index.add(np.arange(COUNT + 1, COUNT + 602), VECTORS[COUNT : COUNT + 601])
    assert index.wants_rebuild() == "tail"
    index.wanted = "exact"
    assert index.wants_rebuild() == "kind"


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "replace", "rebuild", "search"]), st.integers(1, 60), st.integers(0, 10**6)
    ),
    max_size=25,
)


def test_any_sequence_of_changes_leaves_the_same_vectors_as_in_a_dictionary(built: Path, later: Path) -> None:
    """As in congruence.py, with coded tails and a new main segment in between."""

    @settings(max_examples=examples(20))
    @given(OPERATIONS, st.booleans())
    def run(operations: list[tuple[str, int, int]], has_main: bool) -> None:
        index = SegmentedIndex(DIM, opened(built) if has_main else None, max_fresh=64)
        held = stored(every(COUNT)) if has_main else {}
        label = COUNT
        for name, count, seed in operations:
            random = np.random.default_rng(seed)
            some = random.choice(list(held), min(count, len(held)), replace=False) if held else every(0)
            if name in {"remove", "replace"}:
                index.remove(some.astype(np.int64))
                for each in some.tolist():
                    del held[each]
            if name in {"add", "replace"}:
                added = np.arange(label + 1, label + 1 + count)
                index.add(added, VECTORS[added - 1])
                held.update(stored(added))
                label += count
            if name == "rebuild" and has_main and label >= COUNT + 500:
                index.replace_main(opened(later))
            if name == "search" and held:
                query = VECTORS[random.choice(list(held)) - 1][None]
                found = index.search(query, 5, None, True)[0]
                assert set(found.tolist()) <= {*held, -1}
                assert nearest(held, query[0], 1)[0] in found
            assert len(index) == len(held)
            np.testing.assert_array_equal(index.labels(), np.sort(np.array(list(held), dtype=np.int64)))

    run()


def test_what_was_replaced_can_be_deleted_while_it_is_searched(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    index = SegmentedIndex(DIM, opened(folder))
    before = index.search(QUERIES, 10, None, False)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(index.search(QUERIES, 10, None, False), before)
