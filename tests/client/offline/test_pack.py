"""A pack is searched as its codes say, and a file that is not exactly a pack is refused with a sentence."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.errors import DamagedPack, WireError
from askew_client.offline.pack import Pack
from askew_client.offline.sections import verify_pack
from tests.support.offline_packs import PlainPack, assemble, plain_codec, read_plainly, unit_vectors


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "objects.pack"
    path.write_bytes(content)
    return path


def _kinds(vectors: np.ndarray) -> dict[str, Any]:
    dim = vectors.shape[1]
    return {"int8": None, "product": plain_codec(dim, 12), "whole bytes": plain_codec(dim, dim)}


@pytest.mark.parametrize("kind", ["int8", "product", "whole bytes"])
def test_hits_are_those_of_a_naive_decode(tmp_path: Path, kind: str) -> None:
    # 40 values in 12 bytes of different widths.
    vectors = unit_vectors(300, 40)
    plain = PlainPack(vectors, [f"item-{n:03}" for n in range(300)], codec=_kinds(vectors)[kind])
    pack = Pack.open(_written(tmp_path, plain.content()))
    for query in unit_vectors(5, 40, seed=9):
        scores = np.clip(
            (plain.decoded() * plain.scales()[:, None]).astype(np.float64) @ query.astype(np.float64), -1, 1
        )
        naive = sorted(zip(-scores, plain.ids, strict=True))[:10]
        found = pack.search(query, 10)
        assert [hit.id for hit in found] == [each for _, each in naive]
        assert [hit.score for hit in found] == pytest.approx([-score for score, _ in naive], abs=2e-6)
    assert len(pack) == 300
    assert [len(pack.search(vectors[0], limit)) for limit in (1, 299, 300, 1000)] == [1, 299, 300, 300]


def test_an_item_finds_itself_with_a_score_of_one(tmp_path: Path) -> None:
    vectors = unit_vectors(50, 64)
    for codes in (None, plain_codec(64, 16)):
        plain = PlainPack(vectors, [f"i{n}" for n in range(50)], codec=codes)
        hit = Pack.open(_written(tmp_path, plain.content())).search(vectors[7], 1)[0]
        assert (hit.id, hit.position) == ("i7", 7)
        assert hit.score == pytest.approx(1, abs=1e-5)


def test_equal_scores_are_ordered_by_id_in_code_points_also_at_the_limit(tmp_path: Path) -> None:
    same = np.repeat(unit_vectors(1, 16), 6, axis=0)
    ids = ["b", "é", "a", "Z", "\U0001f600", "\uffee"]
    pack = Pack.open(_written(tmp_path, PlainPack(same, ids).content()))
    ordered = ["Z", "a", "b", "é", "\uffee", "\U0001f600"]
    assert [hit.id for hit in pack.search(same[0], 10)] == ordered
    assert [hit.id for hit in pack.search(same[0], 2)] == ordered[:2]


def test_payloads_thumbnails_and_absent_fields(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["a", "Title", None, {"x": [1]}], ["b"], ["c", None, 0, False]]
    plain = PlainPack(
        unit_vectors(3, 16), ["a", "b", "c"], ["title", "year", "more"], rows, thumbnails=[b"webp", b"", b"other"]
    )
    pack = Pack.open(_written(tmp_path, plain.content()))
    assert [pack.item(n) for n in range(3)] == [
        ("a", {"title": "Title", "more": {"x": [1]}}), ("b", {}), ("c", {"year": 0, "more": False})
    ]  # fmt: skip
    assert [pack.thumbnail(n) for n in range(3)] == [b"webp", None, b"other"]
    for position in (-1, 3):
        with pytest.raises(IndexError, match="from 0 to 2"):
            pack.item(position)
    bare = Pack.open(_written(tmp_path, PlainPack(unit_vectors(1, 16), ["a"]).content()))
    assert bare.thumbnail(0) is None


def test_an_empty_pack_finds_nothing(tmp_path: Path) -> None:
    for codes in (None, plain_codec(16, 4)):
        plain = PlainPack(np.zeros((0, 16), np.float32), [], codec=codes, thumbnails=[])
        pack = Pack.open(_written(tmp_path, plain.content()))
        assert (len(pack), pack.search(unit_vectors(1, 16)[0], 5)) == (0, [])


def test_queries_that_cannot_be_asked_are_refused(tmp_path: Path) -> None:
    pack = Pack.open(_written(tmp_path, PlainPack(unit_vectors(3, 16), ["a", "b", "c"]).content()))
    good = unit_vectors(1, 16)[0]
    with pytest.raises(ValueError, match=r"16 values .*sp1-.*got \[8\]"):
        pack.search(unit_vectors(1, 8)[0])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        pack.search(good, 0)
    for bad in (good * 2, np.full(16, np.nan, np.float32)):
        with pytest.raises(WireError):
            pack.search(bad)


CODEC = plain_codec(16, 4)
PLAIN = PlainPack(
    unit_vectors(5, 16), list("abcde"), ["t"], [[each, each * 3] for each in "abcde"], labels=[2, 3, 7, 9, 10],
    thumbnails=[b"one", b"", b"three", b"4", b""], codec=CODEC,
)  # fmt: skip
CONTENT = PLAIN.content()


def test_the_plain_pack_is_a_pack() -> None:
    pack = Pack(verify_pack(memoryview(CONTENT), "it"))
    assert pack.labels.tolist() == [2, 3, 7, 9, 10]


@given(position=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1 << bit
    try:
        pack = Pack(verify_pack(memoryview(bytes(damaged)), "the file"))
    except DamagedPack as error:
        assert "the file" in str(error)
        return
    # Only the header's own text can differ without notice: it has no digest, and its meaning is another one then.
    assert pack.header != Pack(verify_pack(memoryview(CONTENT), "it")).header


def test_every_section_has_its_digest() -> None:
    for section in read_plainly(CONTENT)["header"]["sections"]:
        damaged = bytearray(CONTENT)
        damaged[section["offset"] + section["size"] // 2] ^= 1
        with pytest.raises(DamagedPack, match=section["name"]):
            verify_pack(memoryview(bytes(damaged)), "the file")


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_file_is_noticed_wherever_it_is_cut(length: int) -> None:
    with pytest.raises(DamagedPack, match=r"cut|another kind"):
        verify_pack(memoryview(CONTENT[:length]), "the file")


def test_foreign_files_and_wrong_headers_are_refused_with_a_sentence(tmp_path: Path) -> None:
    sections = [(name, part) for name, part in read_plainly(CONTENT)["parts"].items()]
    header = {name: value for name, value in read_plainly(CONTENT)["header"].items() if name != "sections"}

    def changed(**members: Any) -> bytes:
        return assemble({**header, **members}, sections)

    def changed_codec(**members: Any) -> bytes:
        section = replace(CODEC, **members).section()
        named = json.dumps({"bytes": 4, "dim": 16, "kind": "product"}, separators=(",", ":")).encode()
        codec = {**header["codec"], "id": hashlib.sha256(named + section).hexdigest()}
        return assemble({**header, "codec": codec}, _replaced(sections, "codec", section))

    renamed = [("codec", b""), *sections[1:]]
    longer = [(name, part + b"x" if name == "labels" else part) for name, part in sections]
    cases: list[tuple[bytes, str]] = [
        (b"", "another kind of file"),
        (b"PK\x03\x04" + bytes(100), "another kind of file"),
        (b"ASKEWPK2" + bytes(100), "a later format"),
        (b"ASKEWPK1" + struct.pack("<I", 70_000) + bytes(80_000), "70000 bytes"),
        (b"ASKEWPK1" + struct.pack("<I", 2) + b"{]", "header is wrong"),
        (CONTENT + b"x", "behind its end"),
        (changed(format=2), "'format'"),
        (changed(space="elsewhere"), "'space'"),
        (changed(items=4), "codes"),
        (changed(dim=17), "codec"),
        (changed(thumbnail_size=0), "sections"),
        (changed(fields=["t", "t"]), "twice"),
        (changed(codec={**header["codec"], "bytes": 32}), "32 bytes do not code 16"),
        (changed(codec={**header["codec"], "id": "0" * 64}), "has not the id"),
        (assemble(header, renamed), "codec"),
        (changed_codec(order=[0, *range(15)]), "every dimension once"),
        (changed_codec(starts=[0, 4, 4, 9, 16]), "starts that rise"),
        (changed_codec(starts=[0, 4, 8, 9, 15]), "starts that rise"),
        (changed_codec(books=[np.full_like(book, np.nan) for book in CODEC.books]), "finite values"),
        (assemble(header, _replaced(sections, "scales", struct.pack("<5f", 1, 1, math.nan, 1, 1))), "finite number"),
        (assemble(header, _replaced(sections, "scales", struct.pack("<5f", 1, 1, 1, 1, math.inf))), "finite number"),
        (assemble(header, list(reversed(sections))), "sections"),
        (assemble(header, longer), "labels are not 5"),
        (assemble(header, _replaced(sections, "labels", struct.pack("<QIQI", 5, 3, 6, 2))), "labels are not 5"),
        (assemble(header, _replaced(sections, "labels", struct.pack("<QI", 2**63, 5))), "labels are not 5"),
        (assemble(header, _replaced(sections, "row_lengths", struct.pack("<5I", 1, 1, 1, 1, 1))), "rows are not"),
    ]
    for content, sentence in cases:
        with pytest.raises(DamagedPack, match=sentence) as refused:
            Pack.open(_written(tmp_path, content))
        assert "objects.pack" in str(refused.value)
    with pytest.raises(FileNotFoundError):
        Pack.open(tmp_path / "none.pack")


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"[]",
        b"[7]",
        b'"ab"',
        b'{"0":"a"}',
        b'["a",NaN]',
        b'["\xff"]',
        '["a"]'.encode("utf-16"),
        b'["a",' + b"[" * 100_000 + b"]" * 100_001,
    ],
    ids=["nothing", "no id", "number", "text", "object", "NaN", "no UTF-8", "UTF-16", "deep"],
)
def test_a_row_that_is_no_row_is_refused_when_it_is_read(tmp_path: Path, row: bytes) -> None:
    parts = read_plainly(PlainPack(unit_vectors(2, 16), ["a", "b"], fields=["t"]).content())
    header = {name: value for name, value in parts["header"].items() if name != "sections"}
    sections = _replaced(list(parts["parts"].items()), "rows", row + b'["b"]')
    content = assemble(header, _replaced(sections, "row_lengths", struct.pack("<2I", len(row), 5)))
    pack = Pack.open(_written(tmp_path, content))
    assert pack.item(1) == ("b", {})
    with pytest.raises(DamagedPack, match="item 0 has no readable row"):
        pack.item(0)


def test_members_of_later_versions_are_ignored(tmp_path: Path) -> None:
    content = PlainPack(unit_vectors(1, 16), ["a"], header={"licence": "later"}).content()
    assert json.loads(read_plainly(content)["header"]["licence"].join('""')) == "later"
    assert len(Pack.open(_written(tmp_path, content))) == 1


def _replaced(sections: list[tuple[str, bytes]], name: str, content: bytes) -> list[tuple[str, bytes]]:
    return [(each, content if each == name else part) for each, part in sections]
