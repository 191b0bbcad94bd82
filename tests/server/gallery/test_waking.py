"""A gallery that wakes: what was damaged while it slept is found, and what was verified is not read again."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew_client.contract.search import SearchOptions
from askew_server.errors import Refusal
from askew_server.gallery.answer_size import AnswerSize, AnswersUnderWay
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.index_manager import open_index
from askew_server.gallery.live import LiveGallery
from askew_server.index import on_disk
from askew_server.index.verified import VerifiedIndexes, signature_of
from askew_server.storage.items import ItemBatch, StoredItem
from tests.server.gallery.test_quarantine import DAMAGES
from tests.support.gallery_files import unit_vector, write_gallery
from tests.support.waiting import wait_until


@pytest.fixture
def asleep(tmp_path: Path, teacher_file: Path) -> Iterator[Catalog]:
    """The galleries a, b and c, of which only c is awake."""
    write_gallery(tmp_path / "data", "a", teacher_file, [StoredItem("same", unit_vector(0), {"n": 0})])
    for name in ("b", "c"):
        shutil.copytree(tmp_path / "data/galleries/a", tmp_path / "data/galleries" / name)
    with closing(Catalog(tmp_path / "data", owner="a test", max_awake=1)) as catalog:
        catalog.load()
        yield catalog


def _found(gallery: LiveGallery) -> str:
    size = AnswerSize(1_000_000, AnswersUnderWay(1_000_000))

    async def search() -> str:
        result = await gallery.search(unit_vector(0)[None], SearchOptions(limit=1), None, size)
        return result.hits[0][0].id

    return asyncio.run(search())


def _write(gallery: LiveGallery) -> int:
    batch = ItemBatch.of([StoredItem("new", unit_vector(1), {})])
    return gallery.run(lambda each: each.upsert(batch))


WAYS: list[Callable[[LiveGallery], object]] = [
    _found,
    _write,
    lambda gallery: asyncio.run(gallery.read(lambda reader, _: reader.sequence)),
    lambda gallery: gallery.submit(Gallery.describe),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_gallery_that_is_damaged_while_it_sleeps_is_set_aside_when_it_wakes(
    asleep: Catalog, damage: str, way: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = asleep.get("a")
    DAMAGES[damage](tmp_path / "data/galleries/a")

    def ask(_: int) -> str:
        with pytest.raises(Refusal) as refused:
            WAYS[way](damaged)
        return refused.value.kind.slug

    with caplog.at_level(logging.CRITICAL), ThreadPoolExecutor(4) as threads:
        # All of them held the gallery before it was known to be damaged.
        assert set(threads.map(ask, range(8))) == {"damaged-gallery"}
    assert list(asleep.damaged()) == ["a"]
    assert asleep.names() == ["b", "c"]
    assert [record.message for record in caplog.records if "gallery a is set aside" in record.message]
    with pytest.raises(Refusal, match="askew doctor"):
        asleep.get("a")
    for name in ("b", "c", "b"):
        assert _found(asleep.get(name)) == "same"
        assert _write(asleep.get(name)) > 0
    assert asleep.delete("a") == "a"
    assert asleep.damaged() == {}


def test_all_that_could_not_wake_a_damaged_gallery_are_told_the_same(
    asleep: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = asleep.get("a")
    DAMAGES["missing"](tmp_path / "data/galleries/a")
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(Refusal) as refused:
            damaged.run(Gallery.describe)
        told.append(refused.value.kind.slug)

    def close(gallery: LiveGallery, *how: Any) -> None:
        wait_until(lambda: len(told) == 1, "the answer to the other request")
        LiveGallery.close(gallery, *how)

    monkeypatch.setattr(damaged, "close", partial(close, damaged))
    with ThreadPoolExecutor(2) as threads:
        for asked in [threads.submit(ask) for _ in range(2)]:
            asked.result()
    assert told == ["damaged-gallery"] * 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ENOSPC])
def test_a_gallery_that_cannot_wake_for_want_of_something_is_not_set_aside(
    asleep: Catalog, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("askew_server.gallery.gallery.SqliteItemStore", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            _found(asleep.get("a"))
    assert asleep.damaged() == {}
    assert _found(asleep.get("a")) == "same"


def _two_stage(tmp_path: Path, teacher_file: Path, count: int, verified: VerifiedIndexes) -> Catalog:
    """A catalogue whose only gallery `g` has a saved index, and sleeps."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((50, 64))
    vectors = centres[random.integers(0, 50, count)] + 0.3 * random.standard_normal((count, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [StoredItem(f"i{n}", vector.astype(np.float32), {}) for n, vector in enumerate(vectors)]
    write_gallery(tmp_path / "data", "g", teacher_file, items)
    catalog = Catalog(tmp_path / "data", owner="a test", open_index=partial(open_index, verified=verified))
    catalog.load()
    gallery = catalog.get("g")
    gallery.run(lambda each: each.index.choose("two-stage"))
    with gallery.awake() as index:
        wait_until(lambda: index.statistics().kind == "two-stage", "the index")
        wait_until(lambda: not index.is_building, "the end of the build")
    return catalog


@pytest.mark.slow
def test_an_index_is_not_read_again_at_each_wake_unless_it_has_changed(
    tmp_path: Path, teacher_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = VerifiedIndexes()
    digests = 0
    digest = on_disk._digest

    def counted(block: bytes) -> str:
        nonlocal digests
        digests += 1
        return digest(block)

    monkeypatch.setattr(on_disk, "_digest", counted)
    saved = tmp_path / "data/galleries/g/index"
    with closing(_two_stage(tmp_path, teacher_file, 12_000, verified)) as catalog:
        gallery = catalog.get("g")

        def wake() -> str:
            wait_until(gallery.sleep, "it sleeps")
            with gallery.awake() as index:
                wait_until(lambda: index.statistics().state in {"ready", "exact", "damaged"}, "the index")
                return index.statistics().kind

        before = digests
        for _ in range(3):
            assert wake() == "two-stage"
        assert digests == before
        assert verified.holds(saved)
        # A byte of a file changes while the gallery sleeps; its size stays.
        wait_until(gallery.sleep, "it sleeps")
        labels = next(saved.glob("main-*/labels.i64"))
        content = bytearray(labels.read_bytes())
        content[9] ^= 1
        labels.write_bytes(content)
        assert not verified.holds(saved)
        with gallery.awake() as index:
            wait_until(lambda: index.statistics().kind == "two-stage" and not index.is_building, "it is rebuilt")
        assert digests > before
        assert verified.holds(saved)


def test_a_missing_or_unreadable_index_has_no_signature(tmp_path: Path) -> None:
    assert signature_of(tmp_path) is None
    (tmp_path / "main.json").write_text("{")
    assert signature_of(tmp_path) is None
    assert not VerifiedIndexes().holds(tmp_path)
