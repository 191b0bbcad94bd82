"""A device that fetches only the ends of the sections holds, byte for byte, the file that a full download gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askew_client.errors import DamagedPack
from askew_client.offline.sections import verify_pack
from askew_client.offline.update import update_pack
from tests.server.offline.galleries import PackedGallery
from tests.support.offline_packs import read_plainly, unit_vectors
from tests.support.paths import DEMO

IDS = [f"id-{n}" for n in range(12)]
PHOTO = min((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("pack"), st.just([])),
    ),
    max_size=12,
)


class Server:
    """A file that is fetched in ranges. `fetched`: how many bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.fetched = 0

    def __call__(self, begin: int, end: int) -> bytes:
        part = self._content[begin:end]
        self.fetched += len(part)
        return part


def updated(old: bytes, new: bytes) -> bytes | None:
    return update_pack(verify_pack(memoryview(old), "the old pack"), Server(new), "the new pack")


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, size=st.sampled_from([None, 64]))
def test_after_any_history_an_update_gives_the_bytes_of_a_full_download(
    teacher_file: Path, steps: list[tuple[str, list[str]]], size: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, PackedGallery(Path(folder) / "objects", teacher_file) as gallery:
        thumbnail = PHOTO.read_bytes()
        model: dict[str, tuple[int, int]] = {}
        sequence = seed = 0
        last = gallery.pack(["seed"], size=size, thumbnails=32)
        held = [last[0]]
        for kind, ids in [("put", IDS[:8]), ("pack", []), *steps, ("pack", [])]:
            if kind == "put":
                payloads = []
                for each in ids:
                    seed, sequence = seed + 1, sequence + 1
                    model[each] = (sequence, seed)
                    payloads.append({"seed": seed})
                # One photo in two: a thumbnail costs more than all the rest.
                photos = dict.fromkeys(ids[::2], thumbnail) if seed < 6 else {}
                gallery.put(ids, unit_vectors(len(ids), gallery.dim, seed=seed), payloads, photos)
            elif kind == "delete":
                sequence += sum(each in model for each in ids)
                gallery.delete(ids)
                model = {each: value for each, value in model.items() if each not in ids}
            else:
                last = gallery.pack(
                    ["seed"], size=size, thumbnails=32, after=last, created_at=f"2026-01-01T00:00:{seed:02}Z"
                )
                plain = read_plainly(last[0])
                expected = sorted((label, [each, value]) for each, (label, value) in model.items())
                assert plain["labels"] == [label for label, _ in expected]
                assert plain["rows"] == [row for _, row in expected]
                assert plain["header"]["sequence"] == sequence
                for old in held:
                    again = updated(old, last[0])
                    same = read_plainly(old)["header"]["codec"] == plain["header"]["codec"]
                    assert again == (last[0] if same else None)
                held.append(last[0])


def test_an_update_fetches_the_ends_alone(gallery: PackedGallery) -> None:
    gallery.put([f"id-{n}" for n in range(1000)], unit_vectors(1000, gallery.dim), [{"t": "x" * 50}] * 1000)
    first = gallery.pack(["t"])
    gallery.put(["id-5", "new"], unit_vectors(2, gallery.dim, seed=5), [{"t": "y"}] * 2)
    gallery.delete(["id-6"])
    second = gallery.pack(["t"], after=first)
    old = verify_pack(memoryview(first[0]), "the old pack")
    server = Server(second[0][:])
    assert update_pack(old, server, "the new pack") == second[0]
    # The first range, which is longer than the header, is nearly everything that travels.
    assert server.fetched < 65_536 + 500
    assert len(second[0]) > 120_000


def test_what_cannot_be_updated_is_fetched_whole(gallery: PackedGallery) -> None:
    gallery.put(["a", "b"], unit_vectors(2, gallery.dim), [{"t": 1, "u": 2}] * 2)
    first = gallery.pack(["t"])
    for other in (
        gallery.pack(["u"], after=first), gallery.pack(["t", "u"], after=first), gallery.pack(["t"], size=64, after=first),
        gallery.pack(["t"], thumbnails=32, after=first),
    ):  # fmt: skip
        assert updated(first[0], other[0]) is None
        assert updated(other[0], first[0]) is None
    # A gallery that was put back to an older state: it has labels that the device never saw.
    gallery.delete(["a"])
    without = gallery.pack(["t"], after=first)
    assert updated(first[0], without[0]) == without[0]
    assert updated(without[0], first[0]) is None


def test_a_damaged_answer_is_never_taken_for_the_pack(gallery: PackedGallery) -> None:
    gallery.put([f"id-{n}" for n in range(20)], unit_vectors(20, gallery.dim))
    first = gallery.pack()
    gallery.put(["new"], unit_vectors(1, gallery.dim, seed=3))
    second = gallery.pack(after=first)[0]
    header = read_plainly(second)["header"]
    for section in header["sections"]:
        if not section["size"]:
            continue
        damaged = bytearray(second)
        damaged[section["offset"] + section["size"] - 1] ^= 1
        try:
            assert updated(first[0], bytes(damaged)) is None, section["name"]
        except DamagedPack:
            assert section["name"] == "labels"
    with pytest.raises(DamagedPack, match=r"rows|codes|scales"):
        updated(first[0], second[: header["sections"][2]["offset"] + 5])
