"""What a CSV or JSONL file says about the photos of a folder: every line is taken, or named and counted."""

from __future__ import annotations

import csv
import io
import json
import random
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from askew_client.cli.taken import Intake
from askew_client.errors import AskewError
from askew_server.ingest import payload_lines as reading
from askew_server.ingest import photo_folder as finding
from askew_server.ingest.csv_records import UNCLOSED
from askew_server.ingest.photo_folder import FoundPhotos, find_photos

Form = Literal["NFC", "NFD"]
NAMES = ("a.jpg", "b.jpg", "c.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def _find(folder: Path, content: str | bytes, *types: str, name: str = "known.csv") -> FoundPhotos:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return find_photos(folder, path, types)


def _lines(found: FoundPhotos) -> Intake:
    assert found.lines is not None
    return found.lines.lines


def _fields(found: FoundPhotos) -> Intake:
    assert found.lines is not None
    return found.lines.fields


def _said(intake: Intake) -> dict[str, dict[str, list[str]]]:
    """The first names of each reason, by kind."""
    return {
        kind: {text: list(reason.first) for text, reason in reasons.items()}
        for kind, reasons in intake.reasons.items()
        if reasons
    }


def _payloads(found: FoundPhotos) -> dict[str, Mapping[str, object]]:
    return {photo.id: photo.payload for photo in found.photos}


def test_a_csv_gives_ids_and_payloads(folder: Path) -> None:
    found = _find(folder, "file,id,title,note\na.jpg,first,Ärger,\nb.jpg,second,,x\nc.jpg,third,,\n")
    assert _payloads(found) == {"first": {"title": "Ärger"}, "second": {"note": "x"}, "third": {}}
    assert (_lines(found).taken, _said(_lines(found)), _said(_fields(found))) == (3, {}, {})
    assert found.files.exit_code == _lines(found).exit_code == 0


GOOD = "b.jpg,two,B\nc.jpg,three,C\n"
LINES: dict[str, tuple[str | bytes, dict[str, dict[str, list[str]]], list[str]]] = {
    "a file that does not exist": (
        "x.jpg,one,A\n",
        {"unmatched": {finding.NOT_THERE: ["line 2: x.jpg"]}},
        ["a.jpg", "two", "three"],
    ),
    "a file of another kind": (
        "known.csv,one,A\n",
        {"unmatched": {finding.NOT_A_PHOTO_HERE: ["line 2: known.csv"]}},
        ["a.jpg", "two", "three"],
    ),
    "a file outside": ("/dev/null,one,A\n", {"left out": {finding.OUTSIDE: ["line 2: /dev/null"]}}, ["a.jpg", "two", "three"]),
    "two lines for one file": (
        "a.jpg,zero,Z\na.jpg,one,A\n",
        {"replaced": {finding.LATER_LINE: ["line 2: a.jpg"]}},
        ["one", "two", "three"],
    ),
    "too short": (
        "a.jpg,one\n",
        {"skipped": {"2 fields where the header has 3": ["line 2"]}},
        ["two", "three"],
    ),
    "too long": (
        "a.jpg,one,A, or B\n",
        {"skipped": {"4 fields where the header has 3": ["line 2"]}},
        ["two", "three"],
    ),
    "empty fields at the end": ("a.jpg,one,A,,,\n", {}, ["one", "two", "three"]),
    "empty lines": ("a.jpg,one,A\n\n,,\n", {"left out": {reading.EMPTY: ["line 3", "line 4"]}}, ["one", "two", "three"]),
    "no file": (",one,A\n", {"skipped": {reading.NO_FILE_NAMED: ["line 2"]}}, ["a.jpg", "two", "three"]),
    "bytes that are not UTF-8": (
        b"a.jpg,one,M\xfcnchen\n",
        {"skipped": {reading.NOT_UTF8: ["line 2"]}},
        ["two", "three"],
    ),
    "a file in bytes that are not UTF-8": (
        b"M\xfcnchen.jpg,one,A\n",
        {"skipped": {reading.NOT_UTF8: ["line 2"]}},
        ["a.jpg", "two", "three"],
    ),
    "an id with a line end": ('a.jpg,"on\ne",A\n', {"skipped": {reading.BAD_ID: ["line 2"]}}, ["two", "three"]),
    "an id that is too long": (f"a.jpg,{'x' * 513},A\n", {"skipped": {reading.BAD_ID: ["line 2"]}}, ["two", "three"]),
    "a quote that is not closed": (
        'a.jpg,one,"A\n',
        {"skipped": {UNCLOSED: ["line 2"]}},
        ["two", "three"],
    ),
    "a zero byte in the file": ("a\0.jpg,one,A\n", {"unmatched": {finding.NOT_THERE: ["line 2: a\0.jpg"]}}, ["a.jpg", "two", "three"]),
    "a field that is too long": (f"a.jpg,one,{'x' * 200_000}\n", {"skipped": {"field larger than field limit (131072)": ["line 2"]}}, ["a.jpg", "two", "three"]),
}  # fmt: skip


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("case", LINES)
def test_a_line_that_cannot_be_taken_is_named_and_the_rest_goes_on(folder: Path, case: str, ends: str) -> None:
    line, said, ids = LINES[case]
    content = b"file,id,title\n" + (line if isinstance(line, bytes) else line.encode()) + GOOD.encode()
    found = _find(folder, content.replace(b"\n", ends.encode()))
    assert _said(_lines(found)) == said
    assert [photo.id for photo in found.photos] == ids
    assert {photo.id: photo.payload for photo in found.photos}["two"] == {"title": "B"}
    is_bad = bool({"skipped", "unmatched"} & set(said))
    assert _lines(found).exit_code == (3 if is_bad else 0)
    counts = sum(_lines(found).count(kind) for kind in _lines(found).reasons)
    # A field in quotes may hold a line end, and its record is then two lines.
    records = (
        len(io.StringIO(content.decode("latin-1"), newline=None).readlines()) - 1 - (case == "an id with a line end")
    )
    assert _lines(found).taken + counts == records


def test_photos_without_a_line_and_with_a_bad_one_are_named(folder: Path) -> None:
    found = _find(folder, "file,id,title\na.jpg,one,A\nb.jpg,two\n")
    assert _said(found.files)["unmatched"] == {finding.WITHOUT_LINE: ["c.jpg"]}
    assert _said(found.files)["skipped"] == {finding.BAD_LINE: ["b.jpg"]}
    (sentence,) = found.files.reasons["skipped"][finding.BAD_LINE].first.values()
    assert "Line 3 of" in sentence
    assert not found.is_complete


def test_a_second_photo_with_the_same_id_is_named(folder: Path) -> None:
    found = _find(folder, "file,id\na.jpg,same\nb.jpg,same\nc.jpg,a.jpg\n")
    assert [photo.id for photo in found.photos] == ["same", "a.jpg"]
    assert _said(found.files)["skipped"] == {finding.SAME_ID: ["b.jpg"]}
    # An id that a line gives comes before the same one that is a path.
    found = _find(folder, "file,id\nc.jpg,a.jpg\n")
    assert [(photo.name, photo.id) for photo in found.photos] == [("b.jpg", "b.jpg"), ("c.jpg", "a.jpg")]


def test_columns_and_ids_that_are_not_used_are_named(folder: Path) -> None:
    found = _find(folder, "file, id ,title,,title\na.jpg,,A,x,y\nb.jpg,two,B,,\nc.jpg,three,C,,\n")
    assert _payloads(found) == {"a.jpg": {"title": "A"}, "two": {"title": "B"}, "three": {"title": "C"}}
    assert _said(_fields(found)) == {
        "left out": {"empty ids: the id is the photo's path in the folder": ["line 2, id"]},
        "skipped": {
            "columns without a name in UTF-8": ["column 4"],
            "columns whose name is taken": ["column 5 'title'"],
        },
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name\na\n", "column `file`"),
        ("file;id\na.jpg;x\n", "separated by `;`"),
        ("", "column `file`"),
        ("file,id\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_csvs_that_are_refused(folder: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(AskewError, match=words):
        _find(folder, content)


@pytest.mark.parametrize(
    "text",
    ["photos/é.jpg", "photos\\é.jpg", " photos/é.jpg ", "./photos/../photos/é.jpg", "{absolute}", "linked/é.jpg"],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_a_file_is_found_however_its_name_is_spelt(tmp_path: Path, text: str, form: Form, stored: Form) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "linked").symlink_to("photos")
    (tmp_path / "photos" / unicodedata.normalize(stored, "é.jpg")).write_bytes(b"x")
    text = unicodedata.normalize(form, text.replace("{absolute}", f"{tmp_path}/photos/é.jpg"))
    (tmp_path / "known.csv").write_text(f"file,id\n{text},one\n")
    assert [photo.id for photo in find_photos(tmp_path / "photos", tmp_path / "known.csv").photos] == ["one"]


def test_of_two_names_that_look_alike_each_has_its_own_line(tmp_path: Path) -> None:
    forms: tuple[Form, Form] = ("NFC", "NFD")
    spelt = {form: unicodedata.normalize(form, "é.jpg") for form in forms}
    for name in spelt.values():
        (tmp_path / name).write_bytes(b"x")
    found = _find(tmp_path, "file,id\n" + "".join(f"{name},{form}\n" for form, name in spelt.items()))
    assert {photo.id: photo.name for photo in found.photos} == spelt


TYPED = """file,year,price,seen,tags,day,more,zip
a.jpg,2021,4.5,true,sea; sun,2021-07-09,"{""a"": [1]}",01234
b.jpg,-3,1e3,No,"[""x"", 1]",2021-07,7,1
c.jpg,,,,,,,
"""


def test_columns_get_the_types_that_are_asked_for(folder: Path) -> None:
    found = _find(folder, TYPED, "year:int,price:float,seen:bool", "tags:list", "day:date,more:json")
    assert _payloads(found) == {
        "a.jpg": {
            "year": 2021, "price": 4.5, "seen": True, "tags": ["sea", "sun"], "day": "2021-07-09", "more": {"a": [1]},
            "zip": "01234",
        },
        "b.jpg": {"year": -3, "price": 1000.0, "seen": False, "tags": ["x", 1], "day": "2021-07", "more": 7, "zip": "1"},
        "c.jpg": {},
    }  # fmt: skip
    assert _fields(found).exit_code == 0
    assert _payloads(_find(folder, TYPED))["a.jpg"]["year"] == "2021"


def test_auto_chooses_what_all_values_fit(folder: Path) -> None:
    found = _find(folder, TYPED, "auto")
    assert found.lines is not None
    assert found.lines.types == {
        "year": "int", "price": "float", "seen": "text", "tags": "text", "day": "text", "more": "text", "zip": "text",
    }  # fmt: skip
    content = "file,a,b,c,d\na.jpg,true,[1],9223372036854775808,\nb.jpg,FALSE,[],1,\nc.jpg,,,,\n"
    found = _find(folder, content, "auto,a:text")
    assert found.lines is not None
    assert found.lines.types == {"a": "text", "b": "list", "c": "float", "d": "text"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[("int", text) for text in ("4.5", "1e3", "1_000", "٣", "9223372036854775808", "x", "1 000")],
        *[("float", text) for text in ("nan", "inf", "3,5", "1e999", "0x1")],
        *[("bool", text) for text in ("maybe", "2", "ja")],
        *[("date", text) for text in ("9.7.2021", "2021-13", "2021-02-30", "yesterday")],
        ("list", '["a"'),
        ("json", "{"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_named_and_left_out(folder: Path, kind: str, text: str) -> None:
    content = io.StringIO()
    csv.writer(content).writerows([["file", "v", "t"], ["a.jpg", text, "A"], ["b.jpg", "", "B"], ["c.jpg", "", "C"]])
    found = _find(folder, content.getvalue(), f"v:{kind}")
    assert _payloads(found) == {"a.jpg": {"t": "A"}, "b.jpg": {"t": "B"}, "c.jpg": {"t": "C"}}
    assert _said(_fields(found)) == {"skipped": {f"values that are no {kind}": ["line 2, v"]}}
    assert _fields(found).exit_code == 3


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ("year:number", "got 'year:number'"),
        ("year", "got 'year'"),
        ("yeer:int", "names yeer"),
        ("id:int", "names id"),
        ("year:int,year:float", "two types"),
    ],
)
def test_types_that_cannot_be_are_refused(folder: Path, types: str, words: str) -> None:
    with pytest.raises(AskewError, match=words):
        _find(folder, "file,id,year\na.jpg,x,1\n", types)


def test_jsonl_has_types_of_its_own(folder: Path) -> None:
    objects = [
        {"file": "a.jpg", "id": "one", "year": 2021, "tags": ["x"], "more": {"b": None}},
        {"file": "b.jpg", "id": 7},
    ]
    found = _find(folder, "\n".join(map(json.dumps, objects)) + '\n\n{"file": "c.jpg"}', name="known.jsonl")
    assert _payloads(found) == {"one": {"year": 2021, "tags": ["x"], "more": {"b": None}}, "7": {}, "c.jpg": {}}
    assert (_lines(found).taken, _said(_lines(found))) == (3, {"left out": {reading.EMPTY: ["line 3"]}})
    with pytest.raises(AskewError, match="Leave --payload-types out"):
        _find(folder, "", "auto", name="known.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        b'{"file": "a.jpg"', b"[1]", b"7", b'{"id": "x"}', b'{"file": 7}', b'{"file": "a.jpg", "id": [1]}',
        b'{"file": "a.jpg", "v": NaN}', b'{"file": "a.jpg", "v": 1e999}', b'{"file": "a.jpg", "v": "\xfc"}',
        b'{"file": "a.jpg", "v": "\\ud800"}', b'{"file": "a.jpg", "v": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"file": "a.jpg", "id": "a\\nb"}', b'{"file": "a.jpg", "id": true}', b'{"file": ""}',
    ],
)  # fmt: skip
def test_a_line_of_jsonl_that_cannot_be_taken_is_named(folder: Path, line: bytes) -> None:
    found = _find(folder, b'{"file": "b.jpg", "v": 1}\n' + line + b'\n{"file": "c.jpg", "v": 2}', name="known.jsonl")
    assert [list(reason.first) for reason in _lines(found).reasons["skipped"].values()] == [["line 2"]]
    assert (_lines(found).taken, _lines(found).exit_code) == (2, 3)
    assert _payloads(found)["c.jpg"] == {"v": 2}


PIECES = [
    b"a.jpg",
    b"b.jpg",
    b"c.jpg",
    b"x.jpg",
    b"one",
    b"two",
    b"",
    b" ",
    b'"',
    b'"q"',
    b'""',
    b"\xfc",
    b"\0",
    b",",
    b";",
]


@pytest.mark.parametrize("seed", range(300))
def test_every_line_is_in_exactly_one_count_whatever_the_bytes(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = []
    for _ in range(chance.randrange(12)):
        pieces = [
            b"".join(chance.choices(PIECES, k=chance.randrange(1, 3))) for _ in range(chance.choice([3, 3, 3, 1, 5]))
        ]
        lines.append(b",".join(pieces))
    ends = chance.choice([b"\n", b"\r\n"])
    content = ends.join([b"file,id,title", *lines, *([b""] if chance.random() < 0.5 else [])])
    found = _find(folder, content)
    intake = _lines(found)
    counted = intake.taken + sum(intake.count(kind) for kind in intake.reasons)
    physical = len(content.split(ends)) - 1 - content.endswith(ends)
    # A quoted field may hold line ends, so a record may be several lines; those that do not fit are counted one by one.
    assert counted <= physical
    if b'"' not in content:
        assert counted == physical
    matched = len(found.photos) + sum(1 for each in found.files.reasons["skipped"].values() for _ in each.first)
    assert matched == len(NAMES)
    assert intake.taken <= len(NAMES)
