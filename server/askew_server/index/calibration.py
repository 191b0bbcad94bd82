"""Measure a new main segment on held-out vectors, and choose the search effort by the result.

Half of the queries are vectors of the gallery. The other half are moved to a cosine of 0.8, as a student's queries
are, in directions in which the gallery's vectors vary.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from askew_server.index.faiss_library import inverted_lists
from askew_server.index.record import Calibration, Costs
from askew_server.index.slices import ROWS_PER_SLICE, slices_for
from askew_server.index.two_stage import Codebooks, TwoStageEngine
from askew_server.index.types import MARGIN, Labels, Rows, Scores, Vectors

TARGET_RECALL = 0.992
"""Required of both halves: 0.99, plus a margin for the sampling error on 400 queries."""

QUERIES = 400
MOVED_TO = 0.8

_LARGE_K_FACTOR = 256
_FIRST_SCAN = 2_048
_MORE = 1.25
_KEPT = 100
_EXACT_QUERIES = 128
_EXACT_WINDOW = 400
_TIMED = 15


class Queries(NamedTuple):
    """Held-out queries, float32 [n, D]: first the gallery's vectors under the labels `own`, then the moved ones."""

    vectors: Vectors
    own: Labels

    @property
    def plain(self) -> int:
        """How many queries are vectors of the gallery itself."""
        return len(self.own)


def held_out(labels: Labels, vectors: Vectors, spread: Vectors, random: np.random.Generator) -> Queries:
    """Make queries from vectors that no code was trained on. `spread`: other vectors, which give the directions to move in."""
    plain = len(vectors) // 2
    moved = vectors[plain:]
    noise = random.standard_normal((len(moved), len(spread)), dtype=np.float32) @ (spread - spread.mean(axis=0))
    noise -= np.sum(noise * moved, axis=1, keepdims=True) * moved
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved = np.float32(MOVED_TO) * moved + np.float32(np.sqrt(1 - MOVED_TO**2)) * noise
    return Queries(np.concatenate([vectors[:plain], moved]), labels[:plain])


class Truth:
    """The true nearest rows of queries, collected from batches of all vectors; a query's own vector does not count."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._scores: Scores = np.full((len(queries.vectors), 0), -np.inf, dtype=np.float32)
        self._rows: Rows = np.zeros((len(queries.vectors), 0), dtype=np.int64)

    def see(self, first_row: int, labels: Labels, vectors: Vectors) -> None:
        """Compare the queries with a batch of vectors, the rows from `first_row` on."""
        scores: Scores = (vectors @ self._queries.vectors.T).T
        scores[: self._queries.plain][self._queries.own[:, None] == labels[None]] = -np.inf
        rows = np.broadcast_to(np.arange(first_row, first_row + len(labels)), scores.shape)
        joined = np.concatenate([self._scores, scores], axis=1)
        kept = np.argpartition(-joined, min(_KEPT, joined.shape[1]) - 1, axis=1)[:, :_KEPT]
        self._scores = np.take_along_axis(joined, kept, axis=1)
        self._rows = np.take_along_axis(np.concatenate([self._rows, rows], axis=1), kept, axis=1)

    def nearest(self) -> Rows:
        """The true nearest rows so far: int64 [n, up to 100], nearest first."""
        return np.take_along_axis(self._rows, np.argsort(-self._scores, axis=1, kind="stable"), axis=1)

    def scores(self) -> Scores:
        """The scores of these rows: float32 [n, up to 100]."""
        descending: Scores = -np.sort(-self._scores, axis=1)
        return descending


def calibrate(
    codebooks: Codebooks,
    queries: Queries,
    truth: Rows,
    report: Callable[[int, int], None],
    rows_per_slice: int = ROWS_PER_SLICE,
) -> Calibration:
    """Raise the search effort until recall@10 is reached in both halves, and measure how long a search takes.

    If it is never reached, every row is refined, and the scalar codes limit the recall. `report(done, total)` is called
    after each step.
    """
    lists = inverted_lists(codebooks.scan)
    slices = 1 if lists is not None else slices_for(int(codebooks.scan.ntotal), rows_per_slice)
    blank = Calibration(
        k_factor=1, k_factor_at_100=1, nprobe=lists, recall_at_10=0, recall_plain=0, recall_moved=0,
        exact_margin=0, exact_margin_at_100=0, slices=slices, costs=Costs(scan_row=0, refine_row=0, test_row=0, score_row=0),
    )  # fmt: skip
    engine = TwoStageEngine(codebooks, blank)
    steps = 4
    nprobe = None if lists is None else _least_probes(engine, queries, truth, lists)
    report(1, steps)
    k_factor, recalls = _least_factor(engine, queries, truth, 10, nprobe)
    k_factor_at_100, _ = _least_factor(engine, queries, truth, 100, nprobe)
    report(2, steps)
    costs = _costs(engine, queries.vectors, nprobe)
    report(3, steps)
    margin, margin_at_100 = _exact_margins(engine, queries, truth)
    report(4, steps)
    return Calibration(
        k_factor=k_factor,
        k_factor_at_100=min(k_factor, k_factor_at_100),
        nprobe=nprobe,
        recall_at_10=float(np.mean(recalls)),
        recall_plain=recalls[0],
        recall_moved=recalls[1],
        exact_margin=margin,
        exact_margin_at_100=max(margin, margin_at_100),
        slices=slices,
        costs=costs,
    )


def _least_factor(
    engine: TwoStageEngine, queries: Queries, truth: Rows, limit: int, nprobe: int | None
) -> tuple[float, tuple[float, float]]:
    """The smallest k_factor that reaches the recall at `limit`, or the one that refines every row; and both recalls.

    A very large factor does no harm: a search uses the flat pass if that is cheaper.
    """
    count = limit + MARGIN
    factor = _candidates_needed(engine, queries, truth[:, :limit], nprobe) / count
    while True:
        _, rows = engine.nearest_by(queries.vectors, count, factor, nprobe)
        recalls = _recalls(rows, truth[:, :limit], queries.plain)
        if min(recalls) >= TARGET_RECALL or factor * count >= engine.rows:
            return factor, recalls
        # The scan found the true nearest, but their scalar codes rank them too low.
        factor *= _MORE


def _candidates_needed(engine: TwoStageEngine, queries: Queries, truth: Rows, nprobe: int | None) -> int:
    """How many candidates of the scan are needed to include enough of the true nearest in both halves; at most all rows."""
    scanned = _FIRST_SCAN
    while scanned < engine.rows:
        rows = engine.candidates(queries.vectors, scanned, nprobe)
        places = np.full(truth.shape, scanned)
        for place, true, row in zip(places, truth, rows, strict=True):
            at = np.flatnonzero(np.isin(row, true))
            place[: len(at)] = at
        halves = (places[: queries.plain], places[queries.plain :])
        needed = 1 + max(int(np.quantile(half, TARGET_RECALL, method="higher")) for half in halves)
        if needed <= scanned:
            return needed
        scanned *= 4
    return engine.rows


def _least_probes(engine: TwoStageEngine, queries: Queries, truth: Rows, lists: int) -> int:
    """How many inverted lists to scan: the power of two that reaches the recall in the least time, or all lists."""
    quickest, found = np.inf, lists
    probes = 4
    while probes < lists:
        _, rows = engine.nearest_by(queries.vectors, 10 + MARGIN, _LARGE_K_FACTOR, probes)
        if min(_recalls(rows, truth[:, :10], queries.plain)) >= TARGET_RECALL:
            factor, _ = _least_factor(engine, queries, truth, 10, probes)
            seconds = _least_seconds(partial(_search, engine, factor, probes), queries.vectors)
            if seconds > quickest:
                break
            quickest, found = seconds, probes
        probes *= 2
    return found


def _search(engine: TwoStageEngine, k_factor: float, nprobe: int, query: Vectors) -> object:
    return engine.nearest_by(query, 10 + MARGIN, k_factor, nprobe)


def _recalls(rows: Rows, truth: Rows, plain: int) -> tuple[float, float]:
    """The share of the true nearest that is among the rows, for plain queries and for moved ones."""
    shares = np.array([np.isin(true, row).mean() for true, row in zip(truth, rows, strict=True)])
    return float(shares[:plain].mean()), float(shares[plain:].mean())


def _exact_margins(engine: TwoStageEngine, queries: Queries, truth: Rows) -> tuple[int, int]:
    """Twice the largest number of ranks that a true neighbour lost because of its code, for the true 10 and the true 100."""
    step = max(1, len(queries.vectors) // _EXACT_QUERIES)
    _, rows = engine.flat(queries.vectors[::step], min(_EXACT_WINDOW, engine.rows), None)
    margins = []
    for limit in (10, 100):
        lost = 0
        for true, row in zip(truth[::step, :limit], rows, strict=True):
            places = np.flatnonzero(np.isin(row, true))
            last = int(places[-1]) + 1 if len(places) == len(true) else rows.shape[1]
            lost = max(lost, last - limit)
        margins.append(max(MARGIN, 2 * lost))
    return margins[0], margins[1]


def _costs(engine: TwoStageEngine, vectors: Vectors, nprobe: int | None) -> Costs:
    count = 10 + MARGIN
    many = min(engine.rows, 2_000)
    mask = np.zeros(engine.rows, dtype=bool)
    mask[:: max(1, engine.rows // 100)] = True
    tested = int(np.count_nonzero(mask))
    few = min(count, tested)
    scan = _least_seconds(lambda query: engine.nearest_by(query, count, 1.0, nprobe), vectors)
    refined = _least_seconds(lambda query: engine.nearest_by(query, count, many / count, nprobe), vectors)
    masked = _least_seconds(lambda query: engine.flat(query, few, mask), vectors)
    flat = _least_seconds(lambda query: engine.flat(query, count, None), vectors[:5])
    score = flat / engine.rows
    return Costs(
        scan_row=scan / engine.rows,
        refine_row=max(0.0, refined - scan) / max(1, many - count),
        test_row=max(0.0, masked - tested * score) / engine.rows,
        score_row=score,
    )


def _least_seconds(search: Callable[[Vectors], object], vectors: Vectors) -> float:
    """The shortest time of a single query: other work on the machine can only make a query slower."""
    times: list[float] = []
    for query in np.split(vectors[:_TIMED], len(vectors[:_TIMED])):
        started = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - started)
    return min(times)
