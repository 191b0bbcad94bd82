"""The report of what a command took of its input."""

from __future__ import annotations

import json

import pytest

from askew_client.cli.taken import NAMED_AS_JSON, Intake, reason_of
from askew_client.errors import PhotoError, PhotoTooLarge, UnreadablePhoto


def test_everything_taken_ends_with_0_and_names_nothing() -> None:
    intake = Intake()
    intake.taken = 3
    assert (intake.summary(), intake.exit_code, list(intake.lines())) == ("3 photos taken", 0, [])


@pytest.mark.parametrize(
    ("kind", "exit_code"), [("skip", 3), ("not_matched", 3), ("leave_out", 0), ("replace", 0)], ids=str
)
def test_only_what_was_meant_and_not_taken_changes_the_exit_code(kind: str, exit_code: int) -> None:
    intake = Intake("lines")
    getattr(intake, kind)("line 7", "some reason")
    assert intake.exit_code == exit_code
    assert "some reason" in "\n".join(intake.lines())
    assert "line 7" in "\n".join(intake.lines())


def test_photos_are_counted_by_reason_with_the_sentences_of_the_first() -> None:
    intake = Intake()
    errors: list[PhotoError] = [UnreadablePhoto(f"{number}.jpg is truncated.") for number in range(7)]
    for error in [*errors, PhotoTooLarge("large.jpg has 90 megapixels.")]:
        intake.skip(str(error).split()[0], reason_of(error), str(error))
    assert list(intake.lines()) == [
        "skipped: 7 photos, cannot be read as a photo",
        *(f"  {number}.jpg is truncated." for number in range(5)),
        "  and 2 more",
        "skipped: 1 photo, more pixels than allowed",
        "  large.jpg has 90 megapixels.",
    ]
    assert intake.summary() == "0 photos taken, 8 skipped"


def test_a_sentence_that_does_not_name_its_photo_is_printed_with_the_name() -> None:
    intake = Intake()
    intake.skip("walls/thin.jpg", "too small", "Expected a shorter side of at least 32 px, got 1.")
    intake.skip("walls/cut.jpg", "too small", "/photos/walls/cut.jpg is truncated.")
    assert list(intake.lines())[1:] == [
        "  walls/thin.jpg: Expected a shorter side of at least 32 px, got 1.",
        "  /photos/walls/cut.jpg is truncated.",
    ]


def test_json_has_numbers_and_names_of_every_kind() -> None:
    intake = Intake()
    intake.taken, intake.known = 2, 1
    intake.leave_out("@eaDir", "a system folder", 40)
    intake.skip("M\udcfcnchen.jpg", "the name is not UTF-8")
    report = json.loads(json.dumps(intake.as_json()))
    assert (report["taken"], report["known"]) == (2, 1)
    assert report["left_out"] == {"count": 40, "reasons": {"a system folder": {"count": 40, "first": {"@eaDir": ""}}}}
    assert report["skipped"]["reasons"]["the name is not UTF-8"]["first"] == {"M\\udcfcnchen.jpg": ""}
    assert report["replaced"] == report["unmatched"] == {"count": 0, "reasons": {}}


def test_a_set_that_lacks_millions_keeps_only_the_first_names() -> None:
    intake = Intake()
    for number in range(NAMED_AS_JSON + 5):
        intake.skip(f"{number}.jpg", "not there")
    assert intake.count("skipped") == NAMED_AS_JSON + 5
    assert len(intake.as_json()["skipped"]["reasons"]["not there"]["first"]) == NAMED_AS_JSON


def test_a_name_cannot_move_the_cursor_of_a_terminal() -> None:
    intake = Intake()
    intake.skip("a\nb\x1b[31m\x9b\u202e.jpg", "not there")
    assert list(intake.lines())[1] == "  a\\nb\\x1b[31m\\x9b\\u202e.jpg"
    assert json.loads(json.dumps(intake.as_json()))["skipped"]["reasons"]["not there"]["first"] == {
        "a\nb\x1b[31m\x9b\u202e.jpg": ""
    }
