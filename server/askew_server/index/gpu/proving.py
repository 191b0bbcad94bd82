"""Open the GPU's process for a main segment, and prove that it finds what the processor finds.

Nothing that is read from the process is believed before; and it is asked again from time to time (keeper.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from askew_server.index.gpu.accelerated import GpuEngine
from askew_server.index.gpu.cards import refuse_too_large_for_cards
from askew_server.index.gpu.options import GpuOptions
from askew_server.index.gpu.process import GpuLate, GpuLost, GpuProcess, Proof
from askew_server.index.main_segment import MainSegment
from askew_server.index.port import VectorSource
from askew_server.index.types import MARGIN, Labels, Rows, Scores, Vectors

_SCORE_TOLERANCE = 5e-3
"""The GPU rounds query and vectors to float16, which moves a score of unit vectors by less than 1e-3."""

_MOST_MISSED = 1e-3
_ATTEMPTS = 5
_CHECKED_AGAIN = 16


@dataclass(frozen=True)
class Proved:
    """A GPU's engine that is ready to be searched, and how to check it again. `engine`: FAISS and Python, in words."""

    engine: GpuEngine
    proof: Proof
    description: str

    @property
    def process(self) -> GpuProcess:
        """The process that holds the vectors."""
        return self.engine.process

    def check_again(self) -> None:
        """Ask some of the queries again, on the search thread. A process that answers otherwise now is lost."""
        if not self.engine.is_ready:
            return
        step, all_of_it = _CHECKED_AGAIN, self.proof
        some = Proof(all_of_it.labels, all_of_it.queries[::step], all_of_it.scores[::step], all_of_it.rows[::step])
        try:
            disagreement = _disagreement(some, *self.process.search(some.queries, _columns(some)))
        except (GpuLost, GpuLate):
            return
        if disagreement is not None:
            self.process.give_up(disagreement)


def open_proved(
    main: MainSegment, source: VectorSource, options: GpuOptions, started: Callable[[GpuProcess], None]
) -> Proved:
    """Load the vectors of a main segment into a new process, and compare its answers. Blocks for as long as that takes.

    `started` gets the process, so that another thread can end it. Raises GpuLost with the reason why the GPU cannot be
    used, or Refusal (would-not-fit); the process has ended then.
    """
    labels = main.labels
    refuse_too_large_for_cards(len(labels), source.dim, options)
    process = GpuProcess(source, labels, options)
    try:
        started(process)
        return _proved(process, main)
    except BaseException:
        process.close()
        raise


@dataclass(frozen=True)
class _NoVectors:
    """A source of no vectors."""

    dim: int

    def covered(self) -> tuple[int, Labels]:
        return 0, np.empty(0, dtype=np.int64)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        return iter(())


def try_gpu(dim: int, options: GpuOptions) -> str:
    """Let a process add and search a few vectors of `dim` components on every device; its FAISS in words. Raises GpuLost."""
    process = GpuProcess(_NoVectors(dim), np.empty(0, dtype=np.int64), options)
    try:
        return process.wait_until_ready()
    finally:
        process.close()


def _proved(process: GpuProcess, main: MainSegment) -> Proved:
    description = process.wait_until_ready()
    proof = process.load()
    rows = main.rows_of(proof.labels)
    # Unknown labels have no rows, so that every row after one would be taken for its neighbour.
    if len(rows) != len(proof.labels) or not (np.diff(rows) > 0).all():
        raise GpuLost(_sentence("holds vectors that it was not asked to hold, or in another order"))
    disagreement = _disagreement(proof, *_patiently(process, proof.queries, _columns(proof)))
    if disagreement is not None:
        raise GpuLost(disagreement)
    return Proved(GpuEngine(process, rows, main.engine), proof, description)


def _columns(proof: Proof) -> int:
    return min(int(proof.rows.shape[1]) + MARGIN, len(proof.labels))


def _disagreement(proof: Proof, scores: Scores, rows: Rows) -> str | None:
    """A sentence if the GPU misses true neighbours, or scores them otherwise; else None."""
    is_same = rows[:, :, None] == np.where(proof.rows >= 0, proof.rows, -2)[:, None, :]
    differences = np.abs(scores[:, :, None] - proof.scores[:, None, :])
    if np.isnan(scores).any():
        return _sentence("gives scores that are not numbers")
    difference = float(differences[is_same].max(initial=0.0))
    if difference > _SCORE_TOLERANCE:
        return _sentence(f"scores a vector by {difference:.4f} otherwise than the processor")
    # Others may be as near as the true nearest: what counts is whether the GPU knows nothing nearer.
    is_missed = ~is_same.any(axis=1) & (proof.rows >= 0) & ~(proof.scores <= scores[:, -1:] + _SCORE_TOLERANCE)
    share = float(is_missed.mean())
    if share <= _MOST_MISSED:
        return None
    return _sentence(f"misses {100 * share:.1f} % of the vectors that the processor finds nearest")


def _patiently(process: GpuProcess, queries: Vectors, count: int) -> tuple[Scores, Rows]:
    """The nearest rows. The first searches of a process may take longer than later ones. Raises GpuLost."""
    for _ in range(_ATTEMPTS):
        try:
            return process.search(queries, count)
        except GpuLate:
            while process.lost is None and process.is_late:
                time.sleep(0.01)
    raise GpuLost("The GPU's process answers every search too late. Let gpu_answer_seconds be more.")


def _sentence(what: str) -> str:
    return f"The GPU {what}. The gallery stays on the CPU."
