"""Filters over HTTP: every use of one admits the same items, and says which of its fields no item has."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

Payloads = dict[str, str]


class Filtered:
    """A gallery whose payloads are given as JSON texts, all at one vector."""

    def __init__(self, server: RunningServer, teacher: Encoder, name: str) -> None:
        self.http, self.path = server.http, f"/v1/galleries/{name}"
        self.vector = np.eye(1, teacher.manifest.dim, dtype=np.float32)[0]
        self.space = teacher.space_id
        manifest = teacher.manifest.model_dump(mode="json", exclude_none=True)
        assert self.http.put(self.path, json={"teacher": manifest}).status_code == 201

    def store(self, payloads: Payloads) -> None:
        items = ",".join(f'{{"id": {json.dumps(name)}, "payload": {text}}}' for name, text in payloads.items())
        header = f'{{"space": "{self.space}", "dtype": "f16le", "items": [{items}]}}'.encode()
        body = struct.pack("<I", len(header)) + header + len(payloads) * pack(self.vector)
        headers = {"Content-Type": "application/vnd.askew.items"}
        answer = self.http.put(f"{self.path}/items", content=body, headers=headers)
        assert answer.status_code == 200, answer.text

    def found_by_each_use(self, condition: dict[str, Any]) -> dict[str, list[str]]:
        """The ids that searches (raw, in JSON, as a batch) and the listing find."""
        headers = {"Content-Type": "application/octet-stream", "Askew-Space": self.space, "Askew-Dtype": "f16le"}
        params: dict[str, Any] = {"filter": json.dumps(condition), "limit": 100}
        query = {"vector": base64.b64encode(pack(self.vector)).decode(), "dtype": "f16le", "space": self.space}
        options: dict[str, Any] = {"filter": condition, "limit": 100}
        raw = self.http.post(f"{self.path}/search", params=params, content=pack(self.vector), headers=headers).json()
        by_json = self.http.post(f"{self.path}/search", json=query | options).json()
        batch = self.http.post(f"{self.path}/search/batch", json={"queries": [query], **options}).json()
        listing = self.http.get(f"{self.path}/items", params=params).json()
        self.unknown_fields = [each.get("unknown_fields", []) for each in (raw, by_json, batch, listing)]
        found = {"raw": raw["hits"], "json": by_json["hits"], "batch": batch["results"][0]["hits"]}
        return {use: sorted(hit["id"] for hit in hits) for use, hits in {**found, "listing": listing["items"]}.items()}

    def search(self, **options: Any) -> Any:
        query = {"vector": base64.b64encode(pack(self.vector)).decode(), "dtype": "f16le", "space": self.space}
        return self.http.post(f"{self.path}/search", json=query | options).json()

    def delete(self, condition: dict[str, Any]) -> Any:
        return self.http.post(f"{self.path}/items/delete", json={"filter": condition})

    def count(self, condition: dict[str, Any]) -> Any:
        return self.http.post(f"{self.path}/items/count", json={"filter": condition})

    def ids(self) -> list[str]:
        return [item["id"] for item in self.http.get(f"{self.path}/items").json()["items"]]


@pytest.fixture(scope="module")
def make_gallery(server: RunningServer, teacher: Encoder) -> Callable[[Payloads], Filtered]:
    count = iter(range(1_000))

    def make(payloads: Payloads) -> Filtered:
        gallery = Filtered(server, teacher, f"filtered-{next(count)}")
        gallery.store(payloads)
        return gallery

    return make


# As they were sent when each of them was found to be wrong.
STRANGE = {
    "a": '{"a\\\\b": 1}',
    "b": '{"a\\\\b": 2}',
    "c": '{"x": 1}',
    "d": '{"t": "a\\u0000b"}',
    "e": '{"t": "a"}',
    "f": '{"e": 1}',
}
LISTS = {"p0": '{"tags": ["sea", "sun"]}', "p1": '{"tags": ["sea"]}', "p3": '{"tags": "sea"}'}
LARGE = {
    "even": '{"n": 9007199254740992}',
    "odd": '{"n": 9007199254740993}',
    "huge": '{"n": 18446744073709551617}',
    "float": '{"n": 1.8446744073709552e19}',
}
TYPED = {f"y{year}": json.dumps({"year": year, "taken": f"{year}-05-01"}) for year in range(2019, 2024)}


@pytest.mark.parametrize(
    ("payloads", "condition", "expected"),
    [
        (STRANGE, {"field": "t", "eq": "a"}, "e"),
        (STRANGE, {"field": "t", "eq": "a\x00b"}, "d"),
        (STRANGE, {"field": "t", "in": ["a\x00b", "x"]}, "d"),
        (STRANGE, {"field": "a\\b", "eq": 1}, "a"),
        (STRANGE, {"field": "a\\b", "exists": False}, "c d e f"),
        (LISTS, {"field": "tags", "eq": "sea"}, "p0 p1 p3"),
        (LISTS, {"field": "tags", "in": ["sun"]}, "p0"),
        (LARGE, {"field": "n", "eq": 9007199254740993}, "odd"),
        (LARGE, {"field": "n", "range": {"lt": 9007199254740993}}, "even"),
        (LARGE, {"field": "n", "eq": 18446744073709551617}, "huge"),
        (LARGE, {"field": "n", "range": {"gt": 18446744073709551616}}, "huge"),
        ({"even": LARGE["even"]}, {"field": "n", "eq": 9007199254740993}, ""),
        ({"even": LARGE["even"]}, {"field": "n", "range": {"lt": 9007199254740993}}, "even"),
        (TYPED, {"field": "year", "range": {"gte": 2021}}, "y2021 y2022 y2023"),
        (TYPED, {"field": "taken", "range": {"gte": "2021-01-01"}}, "y2021 y2022 y2023"),
        (TYPED, {"field": "taken", "range": {"gt": "2021-05-01T01:00:00+02:00", "lt": "2023"}}, "y2021 y2022"),
    ],
)
def test_every_use_admits_the_same_items(
    make_gallery: Callable[[Payloads], Filtered], payloads: Payloads, condition: dict[str, Any], expected: str
) -> None:
    gallery = make_gallery(payloads)
    found = gallery.found_by_each_use(condition)
    assert found == dict.fromkeys(found, expected.split())
    assert gallery.unknown_fields == [[], [], [], []]
    assert gallery.count(condition).json() == {"count": len(expected.split())}
    deleted = gallery.delete(condition).json()
    assert deleted["deleted"] == len(expected.split())
    assert gallery.ids() == sorted(set(payloads) - set(expected.split()))
    assert gallery.http.post(f"{gallery.path}/items/count").json() == {"count": len(gallery.ids())}


def test_all_json_is_returned_as_it_was_stored(make_gallery: Callable[[Payloads], Filtered]) -> None:
    gallery = make_gallery(
        {**STRANGE, **LARGE, "odd one": '{"": {"a.b": [-0.0, {"\\"": 123456789012345678901234567890}]}}'}
    )
    held = gallery.http.get(f"{gallery.path}/items/{'odd%20one'}").json()["payload"]
    assert held == {"": {"a.b": [-0.0, {'"': 123456789012345678901234567890}]}}
    condition = {"field": '""."a.b"', "exists": True}
    assert gallery.found_by_each_use(condition)["listing"] == ["odd one"]
    assert gallery.search(filter=condition, with_payload=['""."a.b"'])["hits"][0]["payload"] == held


@pytest.mark.parametrize(
    ("field", "expected"),
    [("a\\b", [("a", 1), ("b", 2)]), ("t", [("d", "a\x00b"), ("e", "a")]), ('"x"', [("c", 1)])],
)
def test_groups_follow_the_same_paths(
    make_gallery: Callable[[Payloads], Filtered], field: str, expected: list[tuple[str, Any]]
) -> None:
    answer = make_gallery(STRANGE).search(group_by=field)
    assert [(hit["id"], hit["group"]) for hit in answer["hits"]] == expected


def test_groups_of_large_integers_are_not_mixed(make_gallery: Callable[[Payloads], Filtered]) -> None:
    answer = make_gallery(LARGE | {"again": LARGE["odd"]}).search(group_by="n", group_size=5)
    groups = {hit["id"]: hit["group"] for hit in answer["hits"]}
    assert groups == {name: json.loads(text)["n"] for name, text in (LARGE | {"again": LARGE["odd"]}).items()}


def test_an_answer_names_the_fields_that_no_item_has(make_gallery: Callable[[Payloads], Filtered]) -> None:
    gallery = make_gallery(LISTS)
    condition = {
        "or": [{"field": "tag", "eq": "sea"}, {"field": "tags", "eq": "sun"}, {"field": "tags.sea", "exists": True}]
    }
    found = gallery.found_by_each_use(condition)
    assert found == {use: ["p0"] for use in found}
    assert gallery.unknown_fields == 4 * [["tag", "tags.sea"]]
    assert gallery.search(group_by="kind")["unknown_fields"] == ["kind"]
    assert gallery.search(group_by="kind", filter={"field": "tag", "eq": 1})["unknown_fields"] == ["kind", "tag"]
    assert "unknown_fields" not in gallery.search(group_by="tags")
    similar = gallery.http.get(
        f"{gallery.path}/items/p0/similar", params={"filter": '{"field": "tag", "eq": 1}'}
    ).json()
    assert similar["unknown_fields"] == ["tag"]
    assert gallery.count(condition).json() == {"count": 1, "unknown_fields": ["tag", "tags.sea"]}
    assert gallery.delete(condition).json()["unknown_fields"] == ["tag", "tags.sea"]
    assert gallery.ids() == ["p1", "p3"]


def test_a_filter_that_cannot_be_answered_is_refused_for_every_use(
    make_gallery: Callable[[Payloads], Filtered],
) -> None:
    gallery = make_gallery(TYPED)
    for condition, word in (
        ({"field": "year", "range": {"gte": "2021"}}, "'year'"),
        ({"field": "taken", "range": {"gte": 2021}}, "'taken'"),
        ({"not": {"field": "taken", "eq": 2021}}, "'taken'"),
        ({"field": "taken", "range": {"gte": "2021", "lt": 2022}}, "got both"),
        ({"field": "taken", "range": {"gte": "last year"}}, "ISO 8601"),
        ({"field": "taken.", "exists": False}, "a field: up to 32 keys"),
    ):
        params = {"filter": json.dumps(condition)}
        headers = {"Content-Type": "application/octet-stream", "Askew-Space": gallery.space, "Askew-Dtype": "f16le"}
        raw = gallery.http.post(f"{gallery.path}/search", params=params, content=pack(gallery.vector), headers=headers)
        listing = gallery.http.get(f"{gallery.path}/items", params=params)
        for answer in (raw, listing, gallery.count(condition), gallery.delete(condition)):
            assert_problem(answer, 422, "validation", word)
    assert gallery.ids() == sorted(TYPED)


def test_a_count_is_of_what_the_body_names_and_of_all_without_one(make_gallery: Callable[[Payloads], Filtered]) -> None:
    gallery = make_gallery(TYPED)
    path = f"{gallery.path}/items/count"
    condition = {"field": "year", "eq": 2020}
    for body, expected in (
        ({}, 5),
        ({"filter": None}, 5),
        ({"filter": condition}, 1),
        ({"ids": ["y2019", "y2020", "y2019", "none"]}, 2),
        ({"ids": ["none"]}, 0),
    ):
        assert gallery.http.post(path, json=body).json() == {"count": expected}
    assert gallery.http.post(path).json() == {"count": 5}
    for wrong, word in (
        ({"ids": ["y2019"], "filter": condition}, "not both"),
        ({"ids": []}, "ids"),
        ({"filters": condition}, "filters"),
    ):
        assert_problem(gallery.http.post(path, json=wrong), 422, "validation", word)
    assert_problem(gallery.http.post(path, content=b"{}"), 415, "unsupported-media", "application/json")
    blank = gallery.http.post(path, content=b" ", headers={"Content-Type": "application/json"})
    assert_problem(blank, 400, "invalid-json")
    assert_problem(gallery.http.post("/v1/galleries/none/items/count"), 404, "unknown-gallery", "'none'")
    # Only POST counts: an item may have this id.
    assert_problem(gallery.http.get(path), 404, "unknown-item", "'count'")


def test_a_deletion_names_the_ids_that_no_item_has(make_gallery: Callable[[Payloads], Filtered]) -> None:
    gallery = make_gallery(TYPED)
    ids = ["y2019", "none", "y2019", "nothing", "none"]
    answer = gallery.http.post(f"{gallery.path}/items/delete", json={"ids": ids}).json()
    assert (answer["deleted"], answer["unknown_ids"]) == (1, ["none", "nothing"])
    answer = gallery.http.post(f"{gallery.path}/items/delete", json={"ids": ["y2020"]}).json()
    assert (answer["deleted"], "unknown_ids" in answer) == (1, False)
