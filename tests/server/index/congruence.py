"""What every implementation of the index port must do; test_congruence.py runs it over each of them.

The oracle is a comparison of all stored vectors in float64. What may differ between implementations, recall above all,
is a field of Backend.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from askew_client.contract.indexes import WantedKind
from askew_server.errors import Refusal
from askew_server.gallery.index_manager import OpenIndex
from askew_server.index.gpu.availability import why_not
from askew_server.index.gpu.options import FIRST_GPU
from askew_server.index.port import BuildCancelled, VectorIndex
from askew_server.index.types import Labels, Neighbours, Vectors
from tests.support.gallery_vectors import clustered
from tests.support.indexed_items import IndexedItems
from tests.support.soak import examples
from tests.support.waiting import DEADLINE, in_thread, wait_until

DIM = 32
COUNT = 1_200
VECTORS = clustered(COUNT + 400, DIM, seed=1)
STORED, NEW = VECTORS[:COUNT], VECTORS[COUNT:]
QUERIES = np.concatenate([STORED[::60], clustered(40, DIM, seed=2)])
"""20 stored vectors, and 40 that nothing was trained on."""


@dataclass(frozen=True)
class Backend:
    """One implementation of the port, and what its users may expect of it.

    `kind`: chosen before the tests. `recall`: of the true ten nearest, without `exact`. `disorder`: by how much a
    score may exceed the one before it, since coded vectors have other scores than stored ones. `impossible`: a kind
    that it refuses (gpu-exact: where there is no GPU). `reports`: whether a rebuild takes long enough to report steps.
    """

    name: str
    open: OpenIndex
    kind: Literal["exact", "two-stage", "ivf-two-stage", "gpu-exact"] = "exact"
    recall: float = 1.0
    disorder: float = 1e-6
    impossible: WantedKind | None = None
    reports: bool = False


class IndexCongruence:
    """The tests; a subclass gives the fixture `backend`."""

    @pytest.fixture(scope="class")
    @classmethod
    def prepared(cls, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A closed gallery of 1,200 items with an index of the backend's kind, where `choose` led to it."""
        folder = tmp_path_factory.mktemp("prepared") / "objects"
        with IndexedItems(folder, DIM, backend.open) as items:
            items.upsert(ids_from(0, COUNT), STORED)
            items.index.choose(backend.kind)
            wait_until(lambda: items.index.statistics().kind == backend.kind, "the chosen kind of index")
            wait_until(lambda: not items.index.status().is_building, "the end of the build")
            assert items.index.status().failure is None
        return folder

    @pytest.fixture
    def items(self, backend: Backend, prepared: Path, tmp_path: Path) -> Iterator[IndexedItems]:
        """A copy of the prepared gallery, opened."""
        with IndexedItems(shutil.copytree(prepared, tmp_path / "objects"), DIM, backend.open) as opened:
            yield opened

    @pytest.fixture
    def empty(self, backend: Backend, tmp_path: Path) -> Iterator[IndexedItems]:
        with IndexedItems(tmp_path / "empty", DIM, backend.open) as opened:
            yield opened

    # Searching

    @pytest.mark.parametrize("wanted", [1, 10, 100])
    def test_the_nearest_are_found(self, backend: Backend, items: IndexedItems, wanted: int) -> None:
        check(backend, items, items.search(QUERIES, wanted), QUERIES, wanted)
        assert items.search(QUERIES, wanted).exact == (backend.kind in {"exact", "gpu-exact"})

    @pytest.mark.parametrize("wanted", [1, 10, 100])
    def test_an_exact_search_finds_the_true_nearest(self, backend: Backend, items: IndexedItems, wanted: int) -> None:
        found = items.search(QUERIES, wanted, exact=True)
        assert found.exact
        check(backend, items, found, QUERIES, wanted, recall=1.0)

    def test_every_vector_is_found_by_itself(self, backend: Backend, items: IndexedItems) -> None:
        found = items.search(STORED, 1)
        assert np.mean([label in row for label, row in enumerate(found.labels, 1)]) >= backend.recall

    def test_a_batch_is_answered_as_single_queries_are(self, backend: Backend, items: IndexedItems) -> None:
        batch = items.search(QUERIES, 10)
        assert batch.labels.shape[0] == len(QUERIES)
        for position in range(0, len(QUERIES), 7):
            single = items.search(QUERIES[position : position + 1], 10)
            np.testing.assert_array_equal(single.labels[0], batch.labels[position])

    def test_a_blocking_search_answers_the_same(self, items: IndexedItems) -> None:
        found = items.index.search_blocking(QUERIES, 10)
        np.testing.assert_array_equal(found.labels, items.search(QUERIES, 10).labels)

    @pytest.mark.parametrize("exact", [False, True])
    def test_more_than_there_are_means_all(self, backend: Backend, items: IndexedItems, exact: bool) -> None:
        found = items.search(QUERIES[:3], 5 * COUNT, exact=exact)
        assert found.available == COUNT
        for row in found.labels:
            assert sorted(row[row >= 0].tolist()) == sorted(items.vectors)

    def test_an_empty_index_finds_nothing(self, empty: IndexedItems) -> None:
        for allowed in (None, np.array([1, 2], dtype=np.int64)):
            for exact in (False, True):
                found = empty.search(QUERIES[:3], 5, allowed, exact=exact)
                assert found.labels.shape[0] == 3
                assert np.all(found.labels == -1)
        assert empty.index.search_blocking(QUERIES[:3], 5).available == 0
        statistics = empty.index.statistics()
        assert (statistics.vectors, statistics.main, statistics.tail, statistics.removed) == (0, 0, 0, 0)

    def test_answers_report_the_index_and_the_search_time(self, backend: Backend, items: IndexedItems) -> None:
        found = items.search(QUERIES[:3], 5)
        assert 0 < found.began <= found.ended
        assert (found.index, found.together, found.available) == (backend.kind, 3, COUNT)

    @pytest.mark.parametrize("share", [0.9, 0.5, 0.05, 0.004])
    @pytest.mark.parametrize("exact", [False, True])
    def test_a_filter_admits_its_labels_only(
        self, backend: Backend, items: IndexedItems, share: float, exact: bool
    ) -> None:
        items.delete(ids_from(30, 90))
        random = np.random.default_rng(3)
        # Deleted labels among them, and some that never existed.
        allowed = 1 + np.flatnonzero(random.random(COUNT) < share)
        allowed = np.concatenate([[-7, 0], allowed, [10**6, 10**12]]).astype(np.int64)
        found = items.search(QUERIES, 10, allowed, exact=exact)
        check(backend, items, found, QUERIES, 10, allowed, recall=1.0 if exact else backend.recall)

    def test_a_filter_that_admits_only_far_vectors_is_met_as_well(self, backend: Backend, items: IndexedItems) -> None:
        query = QUERIES[30:31]
        far = np.sort(np.argsort(STORED @ query[0])[: COUNT // 2] + 1)
        check(backend, items, items.search(query, 10, far), query, 10, far, recall=min(backend.recall, 0.9))

    @pytest.mark.parametrize(
        "allowed", [[], [0], [10**9], [-1], [31]], ids=["none", "zero", "beyond", "negative", "deleted"]
    )
    def test_a_filter_that_admits_nothing_finds_nothing(self, items: IndexedItems, allowed: list[int]) -> None:
        items.delete(ids_from(30, 31))
        for exact in (False, True):
            found = items.search(QUERIES[:4], 10, np.array(allowed, dtype=np.int64), exact=exact)
            assert found.labels.shape[0] == 4
            assert np.all(found.labels == -1)

    def test_equal_vectors_are_all_found_and_each_once(self, backend: Backend, items: IndexedItems) -> None:
        copies = items.upsert(ids_from(COUNT, COUNT + 30), np.repeat(NEW[:1], 30, axis=0))
        for wanted in (1, 12, 30, 45):
            found = items.search(NEW[:1], wanted, exact=True)
            check(backend, items, found, NEW[:1], wanted, recall=1.0)
        assert set(copies.tolist()) <= set(found.labels[0].tolist())

    # Changing

    def test_added_vectors_are_found_by_the_next_search(self, backend: Backend, items: IndexedItems) -> None:
        for start in range(0, 300, 60):
            labels = items.upsert(ids_from(COUNT + start, COUNT + start + 60), NEW[start : start + 60])
            assert items.search(NEW[start + 59][None], 1).labels[0, 0] == labels[-1]
        check(backend, items, items.search(NEW, 10), NEW, 10)
        assert items.index.statistics().vectors == COUNT + 300

    def test_removed_vectors_are_not_found_even_if_they_were_all_the_nearest(
        self, backend: Backend, items: IndexedItems
    ) -> None:
        query = QUERIES[25:26]
        nearest = items.search(query, 200, exact=True).labels[0, :200]
        names = {label: item_id for item_id, label in items.labels.items()}
        items.delete([names[label] for label in nearest.tolist()])
        found = items.search(query, 10)
        assert not set(found.labels[0].tolist()) & set(nearest.tolist())
        check(backend, items, items.search(query, 10, exact=True), query, 10, recall=1.0)
        assert items.index.statistics().vectors == COUNT - 200

    def test_a_replaced_vector_is_found_under_its_new_label_only(self, backend: Backend, items: IndexedItems) -> None:
        before = [items.labels[item_id] for item_id in ids_from(0, 20)]
        after = items.upsert(ids_from(0, 20), NEW[:20])
        assert not set(before) & set(after.tolist())
        found = items.search(NEW[:20], 1).labels[:, 0]
        np.testing.assert_array_equal(found, after)
        check(backend, items, items.search(STORED[:20], 10), STORED[:20], 10)
        assert items.index.statistics().vectors == COUNT

    def test_removing_unknown_labels_changes_nothing(self, items: IndexedItems) -> None:
        before = items.search(QUERIES, 10)
        items.index.remove(np.array([-1, 0, COUNT + 5, 10**9], dtype=np.int64))
        items.index.remove(np.empty(0, dtype=np.int64))
        np.testing.assert_array_equal(items.search(QUERIES, 10).labels, before.labels)
        assert items.index.statistics().vectors == COUNT

    def test_everything_can_be_removed_and_added_again(self, backend: Backend, items: IndexedItems) -> None:
        items.delete(list(items.labels))
        assert np.all(items.search(QUERIES, 10).labels == -1)
        assert items.index.statistics().vectors == 0
        items.upsert(ids_from(0, 50), NEW[:50])
        check(backend, items, items.search(QUERIES, 10), QUERIES, 10, recall=1.0)

    def test_any_sequence_of_changes_leaves_the_same_vectors_as_in_a_dictionary(
        self, backend: Backend, prepared: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        @settings(max_examples=examples(8))
        @given(CHANGES)
        def run(changes: list[tuple[str, int, int]]) -> None:
            folder = shutil.copytree(prepared, tmp_path_factory.mktemp("changes") / "objects")
            with IndexedItems(folder, DIM, backend.open) as items:
                added = COUNT
                for name, count, seed in changes:
                    random = np.random.default_rng(seed)
                    some = random.choice(sorted(items.labels), min(count, len(items.labels)), replace=False).tolist()
                    vectors = VECTORS[random.integers(0, len(VECTORS), count)]
                    match name:
                        case "add":
                            items.upsert(ids_from(added, added + count), vectors)
                            added += count
                        case "replace":
                            items.upsert(some, vectors[: len(some)])
                        case "remove":
                            items.delete(some)
                found = items.search(QUERIES[::5], 10, exact=True)
                check(backend, items, found, QUERIES[::5], 10, recall=1.0)
                assert items.index.statistics().vectors == len(items.vectors)
            shutil.rmtree(folder)

        run()

    # Describing

    def test_statistics_count_changes(self, backend: Backend, items: IndexedItems) -> None:
        items.upsert(ids_from(COUNT, COUNT + 100), NEW[:100])
        items.delete(ids_from(0, 40))
        statistics = items.index.statistics()
        assert statistics.kind == backend.kind
        assert statistics.vectors == COUNT + 60
        assert statistics.main + statistics.tail - statistics.removed == COUNT + 60
        assert min(statistics.main, statistics.tail, statistics.removed, statistics.bytes_mapped) >= 0
        assert statistics.bytes_memory > 0
        assert statistics.state in {"ready", "unverified"}
        assert statistics.recall_at_10 is None or statistics.recall_at_10 >= backend.recall

    def test_the_status_names_the_kind_and_its_estimated_size(self, backend: Backend, items: IndexedItems) -> None:
        status = items.index.status()
        assert (status.wanted, status.chosen, status.is_building, status.failure) == (
            backend.kind, backend.kind, False, None,
        )  # fmt: skip
        assert status.estimate.bytes_memory + status.estimate.bytes_mapped > 0
        assert status.estimate.build_bytes_memory > 0
        items.index.require_ready()

    def test_an_impossible_kind_is_refused_and_changes_nothing(self, backend: Backend, items: IndexedItems) -> None:
        if backend.impossible is None or (backend.impossible == "gpu-exact" and why_not(FIRST_GPU) is None):
            pytest.skip("it can have every kind here")
        with pytest.raises(Refusal) as refused:
            items.index.choose(backend.impossible)
        assert refused.value.kind.slug == "validation"
        assert items.index.status().wanted == backend.kind

    # Rebuilding

    def test_a_rebuild_loses_nothing_that_is_changed_or_asked_during_it(
        self, backend: Backend, items: IndexedItems
    ) -> None:
        items.upsert(ids_from(COUNT, COUNT + 100), NEW[:100])
        items.delete(ids_from(0, 100))
        steps: list[tuple[int, int | None]] = []

        def report(done: int, total: int | None) -> None:
            steps.append((done, total))

        with ThreadPoolExecutor(1) as pool:
            rebuilding = pool.submit(items.index.rebuild, report, lambda: False)
            turn = 0
            while not rebuilding.done() or turn == 0:
                found = items.search(QUERIES, 10, exact=True)
                check(backend, items, found, QUERIES, 10, recall=1.0)
                if turn < 10:
                    items.upsert(ids_from(COUNT + 200 + turn, COUNT + 201 + turn), NEW[200 + turn][None])
                    items.delete(ids_from(200 + turn, 201 + turn))
                turn += 1
                wait([rebuilding], 0.05)
            result = rebuilding.result(DEADLINE)
        assert result.kind == backend.kind
        assert items.index.rebuilds == {"ok": 1, "failed": 0}
        assert all(0 <= done <= (total or done) for done, total in steps)
        assert bool(steps) or not backend.reports
        check(backend, items, items.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)
        check(backend, items, items.search(QUERIES, 10), QUERIES, 10)
        assert items.index.statistics().vectors == len(items.vectors)

    def test_a_cancelled_rebuild_leaves_the_index_as_it_was(self, backend: Backend, items: IndexedItems) -> None:
        before = items.search(QUERIES, 10)
        with pytest.raises(BuildCancelled):
            items.index.rebuild(lambda done, total: None, lambda: True)
        if backend.reports:
            begun = threading.Event()
            with pytest.raises(BuildCancelled):
                items.index.rebuild(lambda done, total: begun.set(), begun.is_set)
            assert begun.is_set()
        assert items.index.rebuilds == {"ok": 0, "failed": 0}
        np.testing.assert_array_equal(items.search(QUERIES, 10).labels, before.labels)

    # Several callers

    def test_threads_search_while_another_changes(self, backend: Backend, items: IndexedItems) -> None:
        stays = STORED[600:640]
        labels = np.array([items.labels[item_id] for item_id in ids_from(600, 640)])
        stopped = threading.Event()

        def search_blocking() -> int:
            asked = 0
            while not stopped.is_set() or not asked:
                found = items.index.search_blocking(stays, 5).labels
                assert np.mean([label in row for label, row in zip(labels, found, strict=True)]) >= backend.recall
                asked += 1
            return asked

        async def search_together() -> int:
            asked = 0
            while not stopped.is_set() or not asked:
                searches = [items.index.search(vector[None], 5, None, True) for vector in stays]
                for label, found in zip(labels, await asyncio.gather(*searches), strict=True):
                    assert label in found.labels[0]
                asked += 1
            return asked

        # Two event loops at once, since the port is safe in any of them.
        work: list[Callable[[], int]] = [search_blocking, *[lambda: asyncio.run(search_together())] * 2]
        with ThreadPoolExecutor(len(work)) as pool:
            searching = [pool.submit(task) for task in work]
            try:
                for turn in range(6):
                    first = COUNT + 20 * turn
                    items.upsert(ids_from(first, first + 20), NEW[20 * turn : 20 * turn + 20])
                    items.upsert(ids_from(20 * turn, 20 * turn + 10), NEW[300 + 10 * turn : 310 + 10 * turn])
                    items.delete(ids_from(20 * turn + 10, 20 * turn + 20))
            finally:
                stopped.set()
            assert all(each.result(DEADLINE) > 0 for each in searching)
        check(backend, items, items.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)

    def test_callers_that_are_cancelled_leave_the_others_their_answers(
        self, backend: Backend, items: IndexedItems
    ) -> None:
        async def run() -> list[Neighbours | BaseException]:
            searches = [asyncio.create_task(items.index.search(query[None], 10, None, True)) for query in QUERIES]
            await asyncio.sleep(0)
            for search in searches[::2]:
                search.cancel()
            return await asyncio.wait_for(asyncio.gather(*searches, return_exceptions=True), DEADLINE)

        answers = asyncio.run(run())
        for query, answer in zip(QUERIES[1::2], answers[1::2], strict=True):
            assert isinstance(answer, Neighbours)
            check(backend, items, answer, query[None], 10, recall=1.0)
        assert all(isinstance(answer, Neighbours | asyncio.CancelledError) for answer in answers)
        check(backend, items, items.search(QUERIES, 10), QUERIES, 10)

    # Closing and opening again

    def test_a_closed_index_refuses_everything_at_once(self, items: IndexedItems) -> None:
        index, label = items.index, np.array([10**6], dtype=np.int64)
        index.close()
        index.close()
        calls: dict[str, Callable[[], object]] = {
            "search": lambda: asyncio.run(index.search(QUERIES[:1], 5, None, False)),
            "search_blocking": lambda: index.search_blocking(QUERIES[:1], 5),
            "add": lambda: index.add(label, NEW[:1]),
            "remove": lambda: index.remove(label),
            "statistics": index.statistics,
            "status": index.status,
            "choose": lambda: index.choose("exact"),
            "rebuild": lambda: index.rebuild(lambda done, total: None, lambda: False),
            "require_ready": index.require_ready,
        }
        harmless = {"rebuilds", "is_building", "close"}
        assert set(calls) == {name for name in vars(VectorIndex) if name[0] != "_"} - harmless
        for name, call in calls.items():
            error = in_thread(call).exception(DEADLINE)
            assert isinstance(error, Refusal), f"{name}: {error!r}"
            assert error.kind.slug == "unknown-gallery", name
        assert set(index.rebuilds) == {"ok", "failed"}

    def test_searches_that_wait_are_answered_before_the_end(self, backend: Backend, items: IndexedItems) -> None:
        async def run() -> list[Neighbours]:
            # One search does not fit into the batch of the others, and some are for other labels.
            searches = [
                asyncio.create_task(
                    items.index.search(query[None], 10, np.arange(1, 500) if n % 5 == 0 else None, n % 2 == 0)
                )
                for n, query in enumerate(QUERIES)
            ]
            await asyncio.sleep(0)
            closing = asyncio.create_task(asyncio.to_thread(items.index.close))
            answers = await asyncio.wait_for(asyncio.gather(*searches), DEADLINE)
            await asyncio.wait_for(closing, DEADLINE)
            with pytest.raises(Refusal):
                await asyncio.wait_for(items.index.search(QUERIES[:1], 10, None, False), DEADLINE)
            return answers

        for n, answer in enumerate(asyncio.run(run())):
            allowed = np.arange(1, 500) if n % 5 == 0 else None
            check(backend, items, answer, QUERIES[n][None], 10, allowed, recall=1.0 if n % 2 == 0 else 0.0)

    def test_threads_that_ask_during_the_end_are_answered_or_refused(self, items: IndexedItems) -> None:
        started = threading.Barrier(5)

        def ask(call: Callable[[], object]) -> bool:
            """Whether it ended by a refusal, as it must."""
            started.wait(DEADLINE)
            try:
                while True:
                    call()
            except Refusal:
                return True

        calls: list[Callable[[], object]] = [
            lambda: items.index.search_blocking(QUERIES[:2], 5),
            lambda: asyncio.run(items.index.search(QUERIES[:2], 5, None, False)),
            items.index.statistics,
            lambda: items.index.remove(np.array([1], dtype=np.int64)),
        ]
        asking = [in_thread(lambda call=call: ask(call)) for call in calls]  # type: ignore[misc]
        started.wait(DEADLINE)
        in_thread(items.index.close).result(DEADLINE)
        assert [each.result(DEADLINE) for each in asking] == [True] * len(calls)

    def test_closing_ends_a_rebuild_and_the_next_opening_has_everything(
        self, backend: Backend, items: IndexedItems
    ) -> None:
        items.upsert(ids_from(COUNT, COUNT + 100), NEW[:100])
        begun = threading.Event()
        rebuilding = in_thread(lambda: items.index.rebuild(lambda done, total: begun.set(), lambda: False))
        if backend.reports:
            assert begun.wait(DEADLINE)
        in_thread(items.index.close).result(DEADLINE)
        error = rebuilding.exception(DEADLINE)
        assert error is None or isinstance(error, BuildCancelled | Refusal)
        assert error is not None or not backend.reports
        items.store.close()
        with IndexedItems(items.store.folder, DIM, backend.open) as again:
            check(backend, again, again.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)

    def test_opened_again_it_finds_the_same(self, backend: Backend, items: IndexedItems) -> None:
        items.upsert(ids_from(COUNT, COUNT + 50), NEW[:50])
        items.delete(ids_from(0, 50))
        check(backend, items, items.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)
        items.close()
        with IndexedItems(items.store.folder, DIM, backend.open) as again:
            assert again.vectors.keys() == items.vectors.keys()
            check(backend, again, again.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)
            check(backend, again, again.search(QUERIES, 10), QUERIES, 10)
            statistics = again.index.statistics()
            assert (statistics.vectors, statistics.kind) == (COUNT, backend.kind)

    def test_what_the_store_committed_and_the_index_never_saw_is_there_after_opening(
        self, backend: Backend, items: IndexedItems
    ) -> None:
        items.write(ids_from(COUNT, COUNT + 60), NEW[:60])
        items.write(ids_from(0, 20), NEW[100:120])
        items.unwrite(ids_from(20, 80))
        items.close()
        with IndexedItems(items.store.folder, DIM, backend.open) as again:
            check(backend, again, again.search(QUERIES, 10, exact=True), QUERIES, 10, recall=1.0)
            assert again.index.statistics().vectors == COUNT
            np.testing.assert_array_equal(
                again.search(NEW[:60], 1).labels[:, 0], [again.labels[i] for i in ids_from(COUNT, COUNT + 60)]
            )


CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "replace", "remove"]), st.integers(1, 80), st.integers(0, 10**6)), max_size=12
)


def ids_from(first: int, end: int) -> list[str]:
    """The ids of the items from number `first` to before `end`."""
    return [f"item-{number:05d}" for number in range(first, end)]


def true_scores(items: IndexedItems, labels: Labels, query: Vectors) -> NDArray[np.float64]:
    """The inner products of a query with the stored vectors of known labels, float64 [n]."""
    vectors = np.stack([items.vectors[label] for label in labels[labels >= 0].tolist()])
    return vectors.astype(np.float64) @ query.astype(np.float64)


def check(
    backend: Backend,
    items: IndexedItems,
    found: Neighbours,
    queries: Vectors,
    wanted: int,
    allowed: Labels | None = None,
    *,
    recall: float | None = None,
) -> None:
    """Compare an answer with the true nearest: labels, order, scores, and the mean share found (or a better tie)."""
    known = sorted(items.vectors if allowed is None else {*items.vectors} & {*allowed.tolist()})
    matrix = np.stack([items.vectors[label] for label in known]).astype(np.float64) if known else np.empty((0, DIM))
    assert found.labels.dtype == np.int64
    assert found.labels.shape[0] == len(queries)
    shares = []
    for position, (row, query) in enumerate(zip(found.labels, queries, strict=True)):
        labels = row[row >= 0]
        assert np.all(row[len(labels) :] == -1), "-1 is only allowed at the end"
        assert len(np.unique(labels)) == len(labels)
        assert set(labels.tolist()) <= set(known)
        assert len(labels) >= min(wanted, len(known))
        if not len(labels):
            continue
        scores = true_scores(items, labels, query)
        assert np.all(np.diff(scores) <= backend.disorder), "nearest first"
        if found.scores is not None:
            np.testing.assert_allclose(found.scores[position, : len(labels)], scores, atol=1e-9)
        best = np.sort(matrix @ query.astype(np.float64))[::-1][:wanted]
        shares.append(np.count_nonzero(scores >= best[-1] - 1e-9) / len(best))
    expected = backend.recall if recall is None else recall
    assert not shares or np.mean(np.minimum(shares, 1.0)) >= expected, f"recall {np.mean(shares):.4f}"
