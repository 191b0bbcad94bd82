"""A photo that crashes, hangs or exhausts the child that draws it costs its own thumbnail, and the pack is made."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from askew_client.contract.offline_pack import OfflinePackPolicy
from askew_client.errors import PhotoError
from askew_server.offline.drawing import Drawer
from askew_server.offline.making import make_pack
from askew_server.offline.store import OfflineStore
from askew_server.offline.thumbnails import thumbnail
from askew_server.processes import Limits
from tests.server.offline.galleries import PackedGallery
from tests.support.offline_packs import read_plainly, unit_vectors
from tests.support.paths import DEMO

LIMITS = Limits(seconds=20, processor_seconds=2, memory_bytes=500_000_000)
HARD = [b"crash", b"exit", b"spin", b"memory", b"recursion", b"odd error", b"no photo"]


def hard_thumbnail(photo: Path, size: int, *, max_pixels: int) -> bytes:
    """Like `thumbnail`, but for photos that ask for something else."""
    content = photo.read_bytes()
    if content == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if content == b"exit":
        os._exit(3)
    if content == b"hang":
        time.sleep(10_000)
    while content == b"spin":
        pass
    if content == b"memory":
        np.ones(2_000_000_000, dtype=np.uint8).sum()
    if content == b"recursion":
        return hard_thumbnail(photo, size, max_pixels=max_pixels)
    if content == b"odd error":
        raise KeyError("odd")
    return thumbnail(photo, size, max_pixels=max_pixels)


@pytest.mark.slow
def test_bad_photos_cost_their_thumbnails_only(gallery: PackedGallery) -> None:
    last, *good = sorted((DEMO / "gallery").glob("*.jpg"))
    photos: dict[str, bytes] = {}
    for n, hard in enumerate(HARD):
        photos[f"good-{n}"] = good[n].read_bytes()
        photos[f"hard-{n}"] = hard
    photos["last"] = last.read_bytes()
    gallery.put(list(photos), unit_vectors(len(photos), gallery.dim), None, photos)
    OfflineStore("objects", gallery.folder).allow(OfflinePackPolicy(fields=[], thumbnails=64))
    made = make_pack(
        "objects", gallery.folder, "test", lambda done, total: None, lambda: False,
        max_pixels=64_000_000, photo_limits=LIMITS, draw=hard_thumbnail,
    )  # fmt: skip
    assert (made.items, made.thumbnails, made.unreadable_photos) == (len(photos), len(HARD) + 1, len(HARD))
    store = OfflineStore("objects", gallery.folder)
    record = store.record()
    assert record is not None
    drawn = read_plainly(store.path(record).read_bytes())["thumbnails"]
    assert [bool(each) for each in drawn] == [not identity.startswith("hard") for identity in photos]


@pytest.mark.slow
def test_a_photo_that_hangs_is_stopped_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    (tmp_path / "hang").write_bytes(b"hang")
    good = sorted((DEMO / "gallery").glob("*.jpg"))[0]
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    drawer = Drawer(64, max_pixels=64_000_000, limits=Limits(seconds=1), draw=hard_thumbnail)
    with pytest.raises(PhotoError, match="more than 1 s"):
        drawer.draw(tmp_path / "hang")
    drawer = Drawer(64, max_pixels=64_000_000, limits=Limits(seconds=60), draw=hard_thumbnail)
    assert drawer.draw(good)[8:12] == b"WEBP"
    drawer.close()
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    names = [each.cmdline() for each in map(psutil.Process, left)]
    # multiprocessing's own tracker stays.
    assert all("resource_tracker" in " ".join(name) for name in names)
