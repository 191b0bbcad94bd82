"""Answers are lists of what they list, and their reprs are short; as models they stay what they were."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from askew_client import Client, Encoder
from askew_client.contract import (
    encoders,
    galleries,
    indexes,
    items,
    jobs,
    keys,
    offline_pack,
    search,
    snapshots,
)
from askew_client.contract.encoders import AdmissionReport, ScoreDistribution
from askew_client.contract.galleries import GalleryDescription, GalleryList
from askew_client.contract.items import Item, ItemPage
from askew_client.contract.jobs import Job, JobList
from askew_client.contract.keys import KeyList
from askew_client.contract.search import BatchHits, BatchSearchAnswer, Hit, SearchAnswer
from askew_client.contract.shown import Listed, short
from askew_client.contract.snapshots import SnapshotList

SPACE = "sp1-" + "0" * 32
LONG = {
    "text": "x" * 10_000,
    "list": list(range(500)),
    "deep": {"a": {"b": {"c": {"d": list(range(99))}}}},
    "k" * 999: 1,
}
AROUND: dict[str, Any] = {"space": SPACE, "gallery": "g", "index": "exact", "exact": True}
ROUTES = [search, items, galleries, encoders, jobs, keys, snapshots, indexes, offline_pack]


def hits(count: int) -> list[Hit]:
    return [
        Hit(id=f"{number}" * 100, score=0.5, payload=LONG, vector="A" * 5000, dtype="f16le") for number in range(count)
    ]


def answers(count: int) -> list[Listed[Any]]:
    page = [Item(id=str(number), payload=LONG, has_photo=False) for number in range(count)]
    job = Job(id="j", kind="photos", gallery="g", state="done", done=1, total=1, created_at="", result=LONG)
    gallery = GalleryDescription(
        name="g", space=SPACE, dim=4, items=1, photos=0, sequence=1, index="exact", exact=True, teacher="t@1", photo_size=96,
        scales=[1.0], describes_photos=False, admitted_encoders=["s@1"] * 400,
    )  # fmt: skip
    return [
        SearchAnswer(hits=hits(count), **AROUND),
        BatchHits(hits=hits(count)),
        BatchSearchAnswer(results=[BatchHits(hits=hits(2)) for _ in range(count)], **AROUND),
        ItemPage(items=page),
        JobList(jobs=[job] * count),
        GalleryList(galleries=[gallery] * count, default_gallery="g"),
        KeyList(keys=[]),
        SnapshotList(snapshots=[]),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_an_answer_is_a_list_of_its_entries(count: int) -> None:
    for answer in answers(count):
        entries = answer._entries()
        if isinstance(answer, KeyList | SnapshotList):
            assert (len(answer), list(answer)) == (0, [])
            continue
        assert (len(answer), bool(answer)) == (count, count > 0)
        assert list(answer) == entries == [answer[place] for place in range(count)]
        assert list(reversed(answer)) == entries[::-1]
        assert answer[:1] == entries[:1]
        if count:
            assert answer[-1] is entries[-1]
            assert entries[0] in answer
        with pytest.raises(IndexError):
            answer[count]


def test_it_is_still_the_model_that_it_was() -> None:
    for answer in answers(2):
        kind = type(answer)
        dumped = answer.model_dump()
        # Left out where there are none.
        assert list(dumped) == [name for name in kind.model_fields if name != "unknown_fields"]
        assert kind.model_validate(dumped) == kind.model_validate_json(answer.model_dump_json()) == answer
        assert copy.deepcopy(answer) == answer.model_copy(deep=True) == pickle.loads(pickle.dumps(answer)) == answer
        assert TypeAdapter(kind).dump_json(answer) == answer.model_dump_json().encode()
        assert answer != kind.model_construct(**{**dumped, next(iter(kind.model_fields)): []}) or not len(answer)
        assert json.loads(answer.model_dump_json()) == answer.model_dump(mode="json")


def test_every_model_of_a_list_is_one() -> None:
    """What a server lists, by the names of the models: one that is added later must not be forgotten."""
    kinds = {
        kind
        for module in ROUTES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    named = {kind for kind in kinds if kind.__name__.endswith(("List", "Page", "Hits", "SearchAnswer"))}
    # Aliases are a mapping of names.
    assert {kind.__name__ for kind in named if not issubclass(kind, Listed)} == {"AliasList"}


def test_reprs_are_short() -> None:
    for answer in answers(1000):
        for text in (repr(answer), str(answer), repr([answer])):
            assert len(text) < 1500, text
    scores = ScoreDistribution(count=3, percentiles=[0.123456789] * 101)
    report = AdmissionReport(gallery="g", encoder="s@1", sha256="0" * 64, admitted=True, reasons=[], matches=scores)
    assert len(repr(report)) < 1500
    assert repr(Hit(id="a", score=0.5, payload={"title": "A"})).startswith(
        "Hit(id='a', score=0.5, payload={'title': 'A'}"
    )
    assert short({"a": [1, 2, 3, 4]}) == "{'a': [1, 2, 3, … 1 more]}"


def test_the_manifest_hides_its_golden_vectors(student_file: Path) -> None:
    encoder = Encoder(student_file)
    for text in (repr(encoder.manifest), str(encoder.manifest), repr(encoder.file)):
        assert "student" in text
        assert len(text) < 1500
        assert max(encoder.manifest.golden.values(), key=len) not in text
    assert repr(encoder) == f"Encoder({str(student_file)!r}: student@1, student, [64] in {encoder.space_id})"


def test_a_client_shows_its_address_and_no_key() -> None:
    with Client("http://me:secret@127.0.0.1:8000/askew", key="ask_secret") as client:
        assert repr(client) == "Client('http://127.0.0.1:8000/askew')"
