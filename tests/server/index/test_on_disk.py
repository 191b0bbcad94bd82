"""A saved index is opened in a moment, and never used when a byte of it is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from askew_server.index.build import build_main
from askew_server.index.on_disk import LABELS, REFINE, SCAN, OpenResult, open_main, remove_old, verify_blocks
from askew_server.index.record import RECORD
from askew_server.index.types import CodedKind
from tests.support.gallery_vectors import Given, clustered

DIM = 32
COUNT = 1_000
BLOCK = 2_000
"""Bytes of a block here, so that each file has several."""


def build(folder: Path, kind: CodedKind = "two-stage") -> None:
    build_main(Given(clustered(COUNT, DIM)), folder, kind, lambda _: None, block_bytes=BLOCK)


@pytest.fixture(scope="module", params=["two-stage", "ivf-two-stage"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    build(folder, request.param)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(built, tmp_path / "index"))


def opened(folder: Path, dim: int = DIM) -> OpenResult:
    return open_main(folder, dim, BLOCK)


def the_file(folder: Path, name: str) -> Path:
    return folder / RECORD if name == RECORD else next(folder.glob(f"main-*/{name}"))


def damage_of(folder: Path) -> str | None:
    """What is reported of the folder at opening, or else by the verification of its blocks."""
    main, damage = opened(folder)
    assert (main is None) == (damage is not None)
    steps = list(verify_blocks(folder, BLOCK))
    return damage or steps[-1].damage


def test_what_was_built_is_opened_whole(folder: Path) -> None:
    main, damage = opened(folder)
    assert damage is None
    assert main is not None
    assert (len(main), main.facts.sequence, main.facts.generation) == (COUNT, COUNT, 1)
    assert main.state == "unverified"
    main.page_in()
    steps = list(verify_blocks(folder, BLOCK))
    assert [step.damage for step in steps] == [None] * len(steps)
    assert steps[-1].done == steps[-1].total == len(steps) > 6


def test_a_missing_index_is_not_damage(tmp_path: Path) -> None:
    assert opened(tmp_path / "nothing") == (None, None)
    assert list(verify_blocks(tmp_path / "nothing")) == []
    remove_old(tmp_path / "nothing")


@pytest.mark.parametrize("name", [SCAN, REFINE, LABELS, RECORD])
def test_a_flipped_bit_anywhere_is_noticed(folder: Path, name: str) -> None:
    path = the_file(folder, name)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    places = [0, 9, len(whole) // 2, len(whole) - 1, *random.integers(0, len(whole), 12).tolist()]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << int(random.integers(8)))]) + whole[place + 1 :])
        assert damage_of(folder) is not None, place
    path.write_bytes(whole)
    assert damage_of(folder) is None


@pytest.mark.parametrize("name", [SCAN, REFINE, LABELS, RECORD])
def test_a_cut_a_longer_an_empty_and_a_missing_file_are_noticed(folder: Path, name: str) -> None:
    path = the_file(folder, name)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], whole + b"\0", b""):
        path.write_bytes(content)
        main, damage = opened(folder)
        assert main is None
        assert damage is not None
        assert str(path) in damage
        assert name == RECORD or f"has {len(content)} bytes, expected {len(whole)}" in damage
    path.unlink()
    assert opened(folder).main is None
    assert name == RECORD or opened(folder).damage is not None


def test_damage_behind_the_first_block_of_a_mapped_file_is_found_by_the_verification(folder: Path) -> None:
    path = the_file(folder, REFINE)
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    assert opened(folder).damage is None
    *before, last = verify_blocks(folder, BLOCK)
    assert len(before) > 3
    assert last.damage is not None
    assert str(path) in last.damage
    assert last.done < last.total


@pytest.mark.parametrize("name", [SCAN, LABELS])
def test_what_is_read_into_memory_is_checked_whole_at_opening(folder: Path, name: str) -> None:
    path = the_file(folder, name)
    content = bytearray(path.read_bytes())
    assert len(content) > BLOCK
    content[-1] ^= 1
    path.write_bytes(content)
    assert str(path) in (opened(folder).damage or "")


def test_another_dimension_and_another_format_are_refused(folder: Path) -> None:
    assert "expected 16" in (opened(folder, 16).damage or "")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "format": 99}))
    assert "format 99" in (opened(folder).damage or "")


def test_older_generations_and_unfinished_builds_are_removed(tmp_path: Path) -> None:
    (tmp_path / "main-7.part").mkdir()
    (tmp_path / "main-7.part" / SCAN).write_bytes(b"half")
    (tmp_path / "exact-12.faiss").write_bytes(b"of an older Askew")
    build(tmp_path)
    remove_old(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "main-8"}
    assert damage_of(tmp_path) is None
