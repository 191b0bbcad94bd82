"""What changed in the old gallery is taken up by its sequence of changes, and a late change delays the switch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from pydantic import JsonValue

from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.catching_up import CatchingUp
from askew_server.jobs.change_teacher import ChangeTeacherJob
from askew_server.jobs.gallery_access import JobDescriber, reading
from askew_server.jobs.kind import Task
from askew_server.jobs.redescribe import RedescribeJob
from askew_server.jobs.redescription import Redescription
from askew_server.processes import Limits
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import unit_vector

pytestmark = pytest.mark.slow
PIXELS = 10_000_000


@pytest.fixture
def data(two_galleries: Path) -> Path:
    return two_galleries


@pytest.fixture
def galleries(data: Path) -> Iterator[Catalog]:
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        yield catalog


def _never() -> bool:
    return False


def _write(gallery: LiveGallery, identity: str, photo: Path, number: int) -> None:
    item = StoredItem(identity, unit_vector(number), {"number": number}, (photo.read_bytes(), ".jpg"))
    gallery.run(lambda each: each.upsert(ItemBatch.of([item])))


def _payloads(gallery: LiveGallery) -> dict[str, object]:
    return gallery.run(lambda each: {row.id: row.payload for row in each.store.page("", 1000)})


def test_a_round_takes_up_what_changed_without_comparing_all_items(
    galleries: Catalog, chosen: list[Path], second_file: Path
) -> None:
    old, new = galleries.get("objects"), galleries.get("next")
    with (
        reading(old, _never) as old_reader,
        reading(new, _never) as new_reader,
        JobDescriber(second_file, max_pixels=PIXELS, limits=Limits(), cancelled=_never) as describer,
    ):
        work = Redescription(new, old_reader, new_reader, describer, lambda *_: None, _never, lambda _: None)
        work.pass_over()
        with CatchingUp(old, work, _never) as catching_up:
            _write(old, "early", chosen[0], 1)
            work.pass_over()
            assert _payloads(new) == _payloads(old)
            described = work.described
            ids = [path.stem for path in chosen]
            _write(old, ids[0], chosen[1], 2)
            _write(old, "added", chosen[2], 3)
            _write(old, "short-lived", chosen[2], 4)
            # Of both kinds: the mark knows the one, and only this job has seen the other.
            for identity in ("short-lived", ids[1], "early"):
                old.run(partial(Gallery.delete, item_id=identity))
            work.pass_over = _no_pass  # type: ignore[method-assign]
            catching_up.catch_up()
            assert _payloads(new) == _payloads(old)
            assert work.described - described == 2
            assert catching_up.sequence == old.run(Gallery.describe).sequence
            catching_up.catch_up()
            assert work.described - described == 2


def _no_pass() -> int:
    raise AssertionError("a round compared all items")


def test_a_change_after_the_last_round_delays_the_switch_and_is_not_lost(
    galleries: Catalog, chosen: list[Path], second: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hold has run out: nothing but the sequence number tells that the new gallery lacks this change."""
    old = galleries.get("live")
    (identity, *_) = _payloads(old)
    catch_up = CatchingUp.catch_up
    late: list[int] = []
    hold = 0.2

    def and_then_write(catching_up: CatchingUp) -> None:
        catch_up(catching_up)
        if old.held_until:
            time.sleep(1.5 * hold)
        if old.held_until and len(late) < 2:
            late.append(len(late))
            _write(old, identity, chosen[len(late)], late[-1])

    monkeypatch.setattr(CatchingUp, "catch_up", and_then_write)
    parameters: dict[str, JsonValue] = {
        "alias": "live", "into": "next", "accept_loss": False, "hold_seconds": hold, "switch": True
    }  # fmt: skip
    task = Task("one", "objects", parameters, tmp_path / "one")
    task.folder.mkdir()
    redescribing = RedescribeJob(galleries, max_pixels=PIXELS, limits=Limits())
    job = ChangeTeacherJob(galleries, redescribing, max_pixels=PIXELS, limits=Limits())
    done = job.run(task, lambda *_: None, _never)
    assert (done.is_switched, late, old.held_until) == (True, [0, 1], 0)
    # As long as changes were refused, in three holds, and not as long as the rounds took.
    assert done.held_seconds == pytest.approx(3 * hold)
    assert galleries.get("live").name == "next"
    assert _payloads(galleries.get("live"))[identity] == {"number": 1}
    assert galleries.get("live").space == second.space_id
    # Killed after the switch, the server runs the job again, which knows what it did.
    assert job.run(task, lambda *_: None, _never) == done
