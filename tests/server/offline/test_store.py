"""The files of a pack: replaced as a whole, served only within the policy, gone at once when withdrawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_client.contract.offline_pack import OfflinePackPolicy
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.offline.making import make_pack
from askew_server.offline.store import OfflineStore
from askew_server.processes import ChildStopped
from tests.server.offline.galleries import PackedGallery
from tests.support.offline_packs import unit_vectors


def make(gallery: PackedGallery) -> str:
    return make_pack(
        "objects", gallery.folder, "test", lambda done, total: None, lambda: False, max_pixels=1 << 20
    ).sha256


@pytest.fixture
def store(gallery: PackedGallery) -> OfflineStore:
    gallery.put(["a", "b"], unit_vectors(2, gallery.dim), [{"t": 1, "u": 2}] * 2)
    return OfflineStore("objects", gallery.folder)


def test_nothing_is_allowed_before_a_policy(gallery: PackedGallery, store: OfflineStore) -> None:
    assert (store.policy(), store.record(), store.leftovers()) == (None, None, [])
    for attempt in (store.require_policy, store.withdraw, lambda: make(gallery)):
        with pytest.raises(Refusal, match="askew gallery pack objects") as refused:
            attempt()
        assert refused.value.kind is ProblemKind.NO_OFFLINE_PACK
        assert refused.value.extras == {"allowed": False}
    assert not store.folder.exists()
    # A policy that was damaged on the disk allows nothing.
    store.folder.mkdir()
    (store.folder / "policy.json").write_text('{"fields": ["t"], "thumb')
    assert store.policy() is None


@pytest.mark.slow
def test_a_pack_is_served_only_while_it_holds_nothing_beyond_the_policy(
    gallery: PackedGallery, store: OfflineStore
) -> None:
    space = gallery.store.fact("space") or ""
    store.allow(OfflinePackPolicy(fields=["t", "u"], thumbnails=64))
    assert store.served(store.require_policy(), space) is None
    sha256 = make(gallery)
    for policy, is_served in (
        (OfflinePackPolicy(fields=["t", "u"], thumbnails=64), True),
        (OfflinePackPolicy(fields=["u", "t", "more"], thumbnails=128), True),
        (OfflinePackPolicy(fields=["t"], thumbnails=64), False),
        (OfflinePackPolicy(fields=["t", "u"], thumbnails=32), False),
        (OfflinePackPolicy(fields=["t", "u"]), False),
    ):
        record = store.served(policy, space)
        assert (record is not None) is is_served, policy
    assert store.served(OfflinePackPolicy(fields=["t", "u"], thumbnails=64), "sp1-" + "0" * 32) is None
    record = store.record()
    assert record is not None
    assert store.path(record).name == f"{sha256}.pack"
    # The file before is kept for whoever is about to open it, and no older one.
    second = make(gallery)
    third = make(gallery)
    assert {path.stem for path in store.folder.glob("*.pack")} == {second, third}
    # Unless it holds what may not leave any more.
    store.allow(OfflinePackPolicy(fields=["t"]))
    narrow = make(gallery)
    assert {path.stem for path in store.folder.glob("*.pack")} == {narrow}
    assert store.leftovers() == []
    record = store.record()
    assert record is not None
    store.path(record).write_bytes(b"cut")
    assert store.record() is None


@pytest.mark.slow
def test_what_a_crash_leaves_is_known_and_the_next_pack_removes_it(gallery: PackedGallery, store: OfflineStore) -> None:
    store.allow(OfflinePackPolicy(fields=[]))
    make(gallery)
    left = [
        gallery.folder / ".offline-withdrawn-00", store.folder / "building-old", store.folder / f"{'0' * 64}.pack",
        store.folder / ".pack.json.x.part",
    ]  # fmt: skip
    left[0].mkdir()
    left[1].mkdir()
    left[2].write_bytes(b"x")
    left[3].write_bytes(b"x")
    assert store.leftovers() == sorted(left)
    make(gallery)
    assert store.leftovers() == [left[3]]


@pytest.mark.slow
def test_stopping_leaves_the_older_pack(gallery: PackedGallery, store: OfflineStore) -> None:
    store.allow(OfflinePackPolicy(fields=[]))
    sha256 = make(gallery)
    with pytest.raises(ChildStopped):
        make_pack("objects", gallery.folder, "test", lambda done, total: None, lambda: True, max_pixels=1)
    record = store.record()
    assert record is not None
    assert record.sha256 == sha256
    assert store.leftovers() == []


@pytest.mark.slow
def test_withdrawing_while_a_pack_is_made_leaves_nothing(gallery: PackedGallery, store: OfflineStore) -> None:
    store.allow(OfflinePackPolicy(fields=[]))
    withdrawn: list[bool] = []

    def report(done: int, total: int) -> None:
        if not withdrawn:
            withdrawn.append(True)
            store.withdraw()

    with pytest.raises(Refusal, match="no offline pack is allowed"):
        make_pack("objects", gallery.folder, "test", report, lambda: False, max_pixels=1)
    assert not store.folder.exists()
    assert not list(Path(gallery.folder).glob(".offline*"))


@pytest.mark.slow
def test_a_pack_that_cannot_be_written_leaves_the_older_one(gallery: PackedGallery, store: OfflineStore) -> None:
    store.allow(OfflinePackPolicy(fields=[]))
    sha256 = make(gallery)
    gallery.store.set_fact("space", "broken")
    with pytest.raises(Exception, match="space") as failed:
        make(gallery)
    assert "Traceback" not in str(failed.value)
    record = store.record()
    assert record is not None
    assert record.sha256 == sha256
