"""Who describes a photo for which no encoder was named: one function decides, for every set of encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.contract.encoders import AdmissionReport, EncoderDescription
from askew_client.contract.problems import ProblemKind
from askew_server.encoders.selection import best_encoder, default_describer
from askew_server.errors import Refusal
from askew_server.storage.encoders import EncoderFacts

SPACE = "sp1-" + "0" * 32


def description(name: str, role: str, recall: float | None, *, reported: bool = True) -> EncoderDescription:
    report = AdmissionReport(
        gallery="g", encoder=f"{name}@1", sha256="0" * 64, admitted=True, reasons=[], recall_at_10=recall
    )
    return EncoderDescription(
        id=f"{name}@1", name=name, version="1", role=role, space=SPACE, dim=4, photo_size=96, precision="fp32",
        sha256="0" * 64, size=1000, galleries=["g"], admitted_at="", report=report if reported else None,
    )  # fmt: skip


recalls = st.none() | st.sampled_from([0.0, 0.5, 0.9, 1.0])
students = st.lists(st.tuples(recalls, st.booleans(), st.booleans()), max_size=5)


@st.composite
def facts(draw: st.DrawFn) -> EncoderFacts:
    """Students with and without reports and files, the teacher with and without its file, retired ones."""
    made = [
        (description(f"s{number}", "student", recall, reported=reported), has_file)
        for number, (recall, reported, has_file) in enumerate(draw(students))
    ]
    if draw(st.booleans()):
        made.append((description("teacher", "teacher", None, reported=False), draw(st.booleans())))
    if draw(st.booleans()):
        made.insert(0, (description("admitted-teacher", "teacher", 1.0), True))
    made = draw(st.permutations(made))
    return EncoderFacts(
        gallery="g",
        teacher="teacher@1",
        encoders=tuple(each for each, _ in made),
        manifests={},
        files={each.id: Path(each.id) for each, has_file in made if has_file},
        retired={"old@1": "2026-01-01T00:00:00+00:00"},
        defaults={},
    )


@given(facts())
def test_it_is_the_student_that_best_answers_and_the_teacher_only_without_one(known: EncoderFacts) -> None:
    try:
        best = best_encoder(known, runtime=None, max_bytes=None, max_milliseconds=None)
    except Refusal as refusal:
        assert refusal.kind is ProblemKind.NO_ENCODER_FITS
        assert not [each for each in known.encoders if each.role == "student" and each.id in known.files]
        if "teacher@1" in known.files:
            assert default_describer(known) == "teacher@1"
            return
        with pytest.raises(Refusal, match="no admitted student and keeps no file of its teacher") as caught:
            default_describer(known)
        assert caught.value.kind is ProblemKind.CANNOT_DESCRIBE
    else:
        assert default_describer(known) == best.id
        assert best.role == "student"
        known.check(best.id)
        assert best.id in known.files


@given(facts())
def test_a_phone_whose_student_is_retired_is_never_told_to_run_the_teacher(known: EncoderFacts) -> None:
    with pytest.raises(Refusal) as caught:
        known.check("old@1")
    assert caught.value.kind is ProblemKind.ENCODER_NOT_ADMITTED
    sentence = str(caught.value)
    assert "teacher" not in sentence
    there = [each.id for each in known.encoders if each.role == "student"]
    if there:
        assert f"with one of its successors: {', '.join(there)}." in sentence
    else:
        assert "No student is admitted at present: send the photo itself to /search/photo" in sentence
    assert caught.value.extras["successors"] == there


@given(facts())
def test_an_encoder_that_was_never_admitted_is_refused_with_students_first(known: EncoderFacts) -> None:
    with pytest.raises(Refusal, match="has not admitted") as caught:
        known.check("unknown@1")
    there = [each.id for each in known.encoders if each.role == "student"]
    assert f"one of: {', '.join(there or known.admitted)}." in str(caught.value)
