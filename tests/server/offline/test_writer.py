"""A pack holds the gallery of one moment, as its policy says, and nothing else of it."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from askew_client.offline.pack import Pack
from askew_client.offline.sections import verify_pack
from askew_server.offline.drawing import Drawer
from askew_server.offline.writer import row_of
from tests.server.offline.galleries import PackedGallery
from tests.support.offline_packs import read_plainly, unit_vectors


def opened(content: bytes) -> Pack:
    return Pack(verify_pack(memoryview(content), "the pack"))


def test_only_named_fields_leave(gallery: PackedGallery) -> None:
    payloads = [
        {"title": f"T{n}", "secret": f"hidden-{n}", "nested": {"secret": "hidden too"}, "author": None if n else "A"}
        for n in range(20)
    ]
    gallery.put([f"id-{n}" for n in range(20)], unit_vectors(20, gallery.dim), payloads)
    content, written = gallery.pack(["title", "author", "missing"])
    assert b"hidden" not in content
    assert b"secret" not in content
    rows = read_plainly(content)["rows"]
    assert rows[0] == ["id-0", "T0", "A"]
    assert rows[1:] == [[f"id-{n}", f"T{n}"] for n in range(1, 20)]
    assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert opened(content).item(0) == ("id-0", {"title": "T0", "author": "A"})


def test_a_row_is_utf_8_json_whatever_the_payload_holds() -> None:
    assert row_of("ü/é", '{"a": "\\u00fc", "b": [1, {"c": null}]}', ["a", "b"]) == '["ü/é","ü",[1,{"c":null}]]'.encode()
    assert row_of("x", '{"a": null}', ["a", "b"]) == b'["x"]'
    # Half of a surrogate pair cannot be written in UTF-8; the escape can.
    assert json.loads(row_of("x", '{"a": "\\ud800"}', ["a"])) == ["x", "\ud800"]


@pytest.mark.slow
def test_a_pack_finds_what_its_codes_say_and_names_the_gallery(gallery: PackedGallery) -> None:
    vectors = unit_vectors(60, gallery.dim)
    gallery.put([f"id-{n:02}" for n in range(60)], vectors)
    gallery.delete(["id-03"])
    for size in (None, 64):
        content, written = gallery.pack(size=size)
        pack = opened(content)
        header = pack.header
        assert (header.sequence, header.items, header.dim, header.gallery) == (61, 59, gallery.dim, "objects")
        assert header.codec.kind == ("int8" if size is None else "product")
        assert written.header == header
        assert pack.search(vectors[10], 1)[0].id == "id-10"
        assert pack.labels.tolist() == [n for n in range(1, 61) if n != 4]
        assert header.recall is not None
        assert (header.recall.at, header.recall.queries, header.recall.of) == (10, 59, "items")
        assert header.recall.value > 0.9


@pytest.mark.parametrize("items", [0, 1, 2])
@pytest.mark.parametrize("size", [None, 64])
def test_a_gallery_with_hardly_any_item(gallery: PackedGallery, items: int, size: int | None) -> None:
    vectors = unit_vectors(2, gallery.dim)
    if items:
        gallery.put(["a", "b"][:items], vectors[:items])
    pack = opened(gallery.pack(size=size, thumbnails=64)[0])
    assert len(pack) == items
    assert (pack.header.recall is None) == (items < 2)
    assert [hit.id for hit in pack.search(vectors[0], 5)] == ["a", "b"][:items]


def test_thumbnails_are_small_pictures_of_the_photos_that_can_be_read(
    gallery: PackedGallery, photos: list[Path]
) -> None:
    sideways = _jpeg(Image.new("RGB", (400, 100), (200, 30, 30)), orientation=6)
    sent = {"photo": photos[0].read_bytes(), "sideways": sideways, "damaged": b"\xff\xd8\xff" + bytes(100)}
    ids = ["bare", *sent]
    gallery.put(ids, unit_vectors(4, gallery.dim), photos=sent)
    content, written = gallery.pack(thumbnails=96)
    assert (written.thumbnails, written.unreadable_photos) == (2, 1)
    pack = opened(content)
    pictures = {pack.item(n)[0]: pack.thumbnail(n) for n in range(4)}
    assert pictures["bare"] is None
    assert pictures["damaged"] is None
    with Image.open(io.BytesIO(pictures["photo"] or b"")) as picture:
        assert (picture.format, max(picture.size)) == ("WEBP", 96)
    with Image.open(io.BytesIO(pictures["sideways"] or b"")) as picture:
        assert picture.size == (24, 96)
    _, small = gallery.pack(thumbnails=96, max_pixels=1_000)
    assert (small.thumbnails, small.unreadable_photos) == (0, 3)
    missing = gallery.store.photo_path(str(gallery.store.item("photo").photo))  # type: ignore[union-attr]
    missing.unlink()
    assert gallery.pack(thumbnails=96)[1].unreadable_photos == 2


@pytest.mark.slow
def test_codes_and_thumbnails_of_unchanged_items_stay_the_same_bytes(
    gallery: PackedGallery, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"id-{n}" for n in range(6)]
    gallery.put(
        ids, unit_vectors(6, gallery.dim), photos={i: p.read_bytes() for i, p in zip(ids, photos, strict=False)}
    )
    first = gallery.pack(thumbnails=64, size=64)
    gallery.delete(["id-2"])
    gallery.put(["new"], unit_vectors(1, gallery.dim, seed=8), photos={"new": photos[9].read_bytes()})
    drawn: list[Path] = []

    as_before = Drawer.draw

    def draw(self: Drawer, photo: Path) -> bytes:
        drawn.append(photo)
        return as_before(self, photo)

    monkeypatch.setattr(Drawer, "draw", draw)
    second = gallery.pack(thumbnails=64, size=64, after=first)
    assert len(drawn) == 1
    assert not second[1].is_new_codec
    before, now = read_plainly(first[0]), read_plainly(second[0])
    assert before["header"]["codec"] == now["header"]["codec"]
    kept = [0, 1, 3, 4, 5]
    assert now["thumbnails"][:5] == [before["thumbnails"][n] for n in kept]
    assert now["codes"][: 5 * 64] == b"".join(before["codes"][n * 64 : n * 64 + 64] for n in kept)
    # Another size of thumbnails, a damaged file: everything is made anew, and it is right.
    assert len(gallery.pack(thumbnails=32, size=64, after=second)[0]) > 0
    assert len(drawn) == 1 + 6
    damaged = second[0][:-1] + bytes([second[0][-1] ^ 1])
    assert gallery.pack(thumbnails=64, size=64, after=(damaged, second[1]))[1].is_new_codec is True


@pytest.mark.slow
def test_a_codec_is_trained_anew_when_the_gallery_has_doubled_or_its_recall_fell(gallery: PackedGallery) -> None:
    rng = np.random.default_rng(4)
    near = np.repeat(unit_vectors(1, gallery.dim), 40, axis=0) + 0.02 * rng.standard_normal((40, gallery.dim))
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    gallery.put([f"near-{n}" for n in range(40)], near)
    first = gallery.pack(size=64)
    assert first[1].is_new_codec
    gallery.put(["one-more"], near[:1])
    assert not gallery.pack(size=64, after=first)[1].is_new_codec
    assert gallery.pack(size=65, after=first)[1].is_new_codec is (gallery.dim >= 65)
    # 39 items of quite another kind: the codebooks know nothing of them.
    gallery.put([f"far-{n}" for n in range(38)], unit_vectors(38, gallery.dim, seed=11))
    fell = gallery.pack(size=64, after=first)[1]
    assert fell.is_new_codec
    assert fell.trained.items == 79
    gallery.put([f"many-{n}" for n in range(100)], unit_vectors(100, gallery.dim, seed=12))
    assert gallery.pack(size=64, after=first)[1].is_new_codec


@pytest.mark.slow
def test_a_size_that_an_administrator_chose_does_not_outlive_the_choice(gallery: PackedGallery) -> None:
    gallery.put([f"item-{n}" for n in range(40)], unit_vectors(40, gallery.dim))
    chosen = gallery.pack(size=64)
    assert chosen[1].header.codec.kind == "product"
    measured = gallery.pack(after=chosen)
    assert (measured[1].header.codec.kind, measured[1].is_new_codec) == ("int8", True)
    assert not gallery.pack(after=measured)[1].is_new_codec


@pytest.mark.slow
def test_a_pack_is_of_one_moment_while_others_write(gallery: PackedGallery) -> None:
    """Vectors, rows and labels are of the same change, though a writer replaces and deletes items all the time."""
    ids = [f"id-{n}" for n in range(200)]
    vectors = unit_vectors(200, gallery.dim)
    gallery.put(ids, vectors, [{"version": 0}] * 200)
    stop = threading.Event()

    def write() -> None:
        version = 1
        while not stop.is_set():
            gallery.put(ids[:50], np.roll(vectors[:50], version, axis=0), [{"version": version}] * 50)
            gallery.delete(ids[150 + version % 50 : 151 + version % 50])
            version += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        packs = [opened(gallery.pack(["version"])[0]) for _ in range(5)]
    finally:
        stop.set()
        writing.join()
    for pack in packs:
        versions = {pack.item(n)[1]["version"] for n in range(len(pack)) if int(pack.item(n)[0][3:]) < 50}
        assert len(versions) == 1
        (version,) = versions
        assert isinstance(version, int)
        assert pack.labels.max() <= pack.header.sequence
        for n in range(len(pack)):
            number = int(pack.item(n)[0][3:])
            expected = np.roll(vectors[:50], version, axis=0)[number] if number < 50 else vectors[number]
            assert pack.scores(expected)[n] == pytest.approx(1, abs=0.01)


def _jpeg(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    return stream.getvalue()
