"""An index is built in a child process from the gallery's database; the older one stays until the new one is complete."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from askew_client.errors import AskewError
from askew_server.index.build import Progress, build_main
from askew_server.index.build_process import build_in_child
from askew_server.index.on_disk import open_main
from askew_server.index.port import BuildCancelled, BuildFailed
from askew_server.index.record import RECORD, Record
from askew_server.index.segmented import SegmentedIndex
from askew_server.storage.vector_source import SqliteVectorSource
from tests.support.gallery_vectors import Given, Labels, Vectors, clustered, recall, write_database

DIM = 32
VECTORS = clustered(1_200, DIM)


@dataclass(frozen=True)
class Endless:
    """A source that never ends."""

    dim: int = DIM

    def covered(self) -> tuple[int, Labels]:
        return 2_000, np.arange(1, 2_001)

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        while True:
            time.sleep(0.05)
            yield labels[:0], np.empty((0, DIM), dtype=np.float32)


@dataclass(frozen=True)
class Ending:
    """A source that kills the process that reads it."""

    dim: int = DIM

    def covered(self) -> tuple[int, Labels]:
        psutil.Process().kill()
        raise AssertionError

    def batches(self, labels: Labels) -> Iterator[tuple[Labels, Vectors]]:
        raise AssertionError


def _never() -> bool:
    return False


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_main(Given(VECTORS), folder, "two-stage", lambda _: None)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with the first generation of an index."""
    return Path(shutil.copytree(built, tmp_path / "index"))


@pytest.mark.slow
def test_a_child_builds_from_the_database_while_it_is_written(tmp_path: Path) -> None:
    database = tmp_path / "gallery.db"
    write_database(database, VECTORS, sequence=1_150)
    writer = sqlite3.connect(database)
    writer.execute("DELETE FROM vectors WHERE label IN (7, 8)")
    writer.commit()
    writer.execute("BEGIN IMMEDIATE")
    seen: list[Progress] = []
    build_in_child(SqliteVectorSource(database, DIM), tmp_path / "index", "two-stage", seen.append, _never)
    writer.rollback()
    writer.close()
    main, damage = open_main(tmp_path / "index", DIM)
    assert damage is None
    assert main is not None
    assert main.facts.sequence == 1_150
    np.testing.assert_array_equal(main.labels, np.setdiff1d(np.arange(1, 1_151), [7, 8]))
    assert list(dict.fromkeys(step.stage for step in seen)) == ["sampling", "training", "encoding", "calibrating"]
    assert all(0 <= step.done <= step.total for step in seen)
    found = SegmentedIndex(DIM, main).search(VECTORS[100:200], 18, None, False)
    truth = {int(label): VECTORS[label - 1] for label in main.labels}
    assert recall(found, truth, VECTORS[100:200]) >= 0.985


@pytest.mark.slow
def test_a_cancelled_build_leaves_the_older_index(folder: Path) -> None:
    before = (folder / RECORD).read_bytes()
    begun = threading.Event()
    with pytest.raises(BuildCancelled):
        build_in_child(Endless(), folder, "two-stage", lambda _: begun.set(), begun.is_set)
    assert (folder / RECORD).read_bytes() == before
    assert open_main(folder, DIM).damage is None
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_killed_build_is_reported_and_leaves_the_older_index(folder: Path) -> None:
    with pytest.raises(BuildFailed, match="ended by the system"):
        build_in_child(Ending(), folder, "two-stage", lambda _: None, _never)
    assert open_main(folder, DIM).damage is None


def test_a_build_that_ends_at_any_stage_leaves_the_older_index(folder: Path) -> None:
    for stage in ("sampling", "training", "encoding", "calibrating"):

        def end(step: Progress, stage: str = stage) -> None:
            if step.stage == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_main(Given(VECTORS[::-1]), folder, "two-stage", end)
        main, damage = open_main(folder, DIM)
        assert damage is None
        assert main is not None
        assert main.facts.generation == 1
        assert {path.name for path in folder.iterdir()} == {RECORD, "main-1"}


@pytest.mark.slow
def test_a_failed_child_reports_its_error_message(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="Expected at least 1000 vectors to build a two-stage index from, got 900"):
        build_in_child(Given(VECTORS[:900]), tmp_path, "two-stage", lambda _: None, _never)
    with pytest.raises(BuildFailed, match="unable to open database file"):
        missing = SqliteVectorSource(tmp_path / "missing.db", DIM)
        build_in_child(missing, tmp_path, "two-stage", lambda _: None, _never)


def test_a_dimension_that_cannot_be_cut_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AskewError, match="cut into equal parts of 4 to 32 components, got 67"):
        build_main(Given(clustered(1_200, 67)), tmp_path, "two-stage", lambda _: None)


@pytest.mark.slow
def test_codes_of_8_bits_give_way_to_float16_where_recall_needs_it(tmp_path: Path) -> None:
    # Outliers stretch the range that 8 bits must cover, so that the codes of all other vectors become equal.
    vectors = VECTORS.copy()
    vectors[:12] = 400 * np.sign(vectors[:12])
    record = build_main(Given(vectors), tmp_path, "two-stage", lambda _: None)
    assert record.refine == "SQfp16"
    assert Record.read(tmp_path) == record.sealed()
    assert open_main(tmp_path, DIM).damage is None
