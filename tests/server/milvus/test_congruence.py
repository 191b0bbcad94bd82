"""A gallery in Milvus answers as the same gallery in SQLite with an exact index: the same items, scores and problems.

Every test sends the same requests to both galleries of a server. That SQLite's answers are right, other tests say.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.server.milvus.varied_items import VARIED, send_items, vectors_of
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.slow

_OWN = {"gallery", "name", "index", "sequence", "instance", "type", "items_per_second"}
CONDITIONS: list[dict[str, Any]] = [
    {"field": "kind", "eq": "lamp"},
    {"field": "kind", "in": ["lamp", "rug"]},
    {"field": "kind", "eq": 1},
    {"field": "kind", "eq": True},
    {"field": "kind", "eq": "quote \"\\' é 𝄞"},
    {"field": "kind", "exists": True},
    {"field": "kind", "exists": False},
    {"field": '"k\\"\\\\."', "eq": "x"},
    {"field": "tags", "eq": "sea"},
    {"field": "place.city", "eq": "Lyon"},
    {"field": 'place."a.b".c', "eq": 1.0},
    {"field": "n", "eq": 9007199254740993},
    {"field": "n", "eq": 18446744073709551617},
    {"field": "n", "range": {"lt": 9007199254740993}},
    {"field": "n", "range": {"gt": 18446744073709551616}},
    {"field": "price", "range": {"gte": 3, "lt": 10.5}},
    {"field": "made", "range": {"gte": "1995", "lt": "2001-05-01"}},
    {"and": [{"field": "kind", "eq": "rug"}, {"field": "year", "range": {"gte": 2000}}]},
    {"or": [{"field": "tags", "eq": "sun"}, {"field": "maker.id", "eq": 3}]},
    {"or": [{"not": {"field": "price", "range": {"lt": 70}}}, {"field": "kind", "eq": "chair"}]},
    {"not": {"field": "kind", "in": ["lamp", "chair", "rug"]}},
    {"not": {"field": "year", "range": {"gte": 1991}}},
    {"field": "nobody", "eq": "has it"},
    # Refused, as the field never has such a value.
    {"field": "year", "eq": "1990"},
    {"field": "price", "range": {"gte": "2001"}},
]


class Both:
    """The same gallery in SQLite and in Milvus."""

    def __init__(self, server: RunningServer, name: str, space: str) -> None:
        self.server, self.names, self.space = server, (name, f"{name}-milvus"), space

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """The answer, the same from both galleries; what names the gallery or its index is left out."""
        answers = [self.server.http.request(method, f"/v1/galleries/{name}{path}", **request) for name in self.names]
        first, second = (
            (each.status_code, _comparable(each.json(), name)) for each, name in zip(answers, self.names, strict=True)
        )
        assert first == second
        return first[1]

    def search(self, vector: np.ndarray, **options: Any) -> Any:
        query = {"vector": base64.b64encode(pack(vector)).decode(), "dtype": "f16le", "space": self.space}
        return self.ask("POST", "/search", json=query | options)

    def ids(self) -> list[str]:
        return [item["id"] for item in self.ask("GET", "/items", params={"limit": 1000})["items"]]


def _comparable(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(each, name) for key, each in value.items() if key not in _OWN}
    if isinstance(value, list):
        return [_comparable(each, name) for each in value]
    return value.replace(repr(name), "it") if isinstance(value, str) else value


@pytest.fixture
def varied(both: RunningServer, teacher: Encoder) -> Both:
    return Both(both, "varied", teacher.space_id)


@pytest.fixture
def queries(teacher: Encoder) -> np.ndarray:
    # Some are items, of which there are two with the same vector; the others are nobody's.
    dim = teacher.manifest.dim
    return np.concatenate([vectors_of(20, dim)[6:12], vectors_of(6, dim, seed=7)])


def test_a_search_finds_the_same_items_with_the_same_scores(varied: Both, queries: np.ndarray) -> None:
    for query in queries:
        hits = varied.search(query)["hits"]
        assert len(hits) == 10
        varied.search(query, limit=1000, with_payload=False)
        varied.search(query, score_threshold=hits[5]["score"], exclude=[hits[0]["id"]], with_vectors=True)
        varied.search(query, limit=3, exact=True, with_payload=["kind", "place.city"])
    vectors = [
        {"vector": base64.b64encode(pack(query)).decode(), "dtype": "f16le", "space": varied.space} for query in queries
    ]
    assert len(varied.ask("POST", "/search/batch", json={"queries": vectors, "limit": 20})["results"]) == len(queries)
    varied.search(np.eye(1, len(queries[0]), dtype=np.float32)[0], space="sp1-" + "0" * 32)


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_a_filter_admits_the_same_items_wherever_it_is_used(varied: Both, queries: np.ndarray, condition: Any) -> None:
    varied.search(queries[0], filter=condition, limit=100)
    varied.ask("POST", "/items/count", json={"filter": condition})


def test_groups_hold_the_same_items(varied: Both, queries: np.ndarray) -> None:
    for field in ("kind", "maker.id", "year", "nobody"):
        varied.search(queries[0], group_by=field, group_size=2, limit=4)
    either = {"or": [{"field": "nobody", "eq": 1}, {"field": "year", "range": {"gte": 1995}}]}
    assert varied.search(queries[0], group_by="year", group_size=3, limit=12, filter=either)["unknown_fields"] == [
        "nobody"
    ]
    varied.search(queries[1], group_by="kind", limit=2, filter={"field": "year", "range": {"gte": 2000}})


def test_items_are_listed_read_and_counted_alike(varied: Both) -> None:
    cursor, ids = None, []
    for _ in range(4):
        page = varied.ask(
            "GET", "/items", params={"limit": 50, "with_vectors": True} | ({"cursor": cursor} if cursor else {})
        )
        ids += [item["id"] for item in page["items"]]
        cursor = page.get("next_cursor")
    assert cursor is None
    assert ids == sorted(VARIED, key=str.encode)
    for item_id in ("null", "quote \"\\' é 𝄞", "nobody", 'a\\b"'):
        varied.ask("GET", f"/items/{quote(item_id, safe='')}", params={"with_vectors": True})
    varied.ask("GET", "/items", params={"filter": '{"field": "kind", "eq": "rug"}', "limit": 7})
    varied.ask("GET", "/items", params={"filter": '{"field": "year", "range": {"gt": 2000}}', "limit": 7})
    varied.ask("POST", "/items/count", json={"ids": ["null", "nobody", "null"]})
    varied.ask("GET", "/items/null/similar", params={"limit": 5})


def test_writes_change_both_alike(varied: Both, queries: np.ndarray, teacher: Encoder) -> None:
    changed = {f"item {number:03}": {"kind": "vase", "price": number} for number in range(0, 40, 3)} | {
        "new": {"kind": "vase"}
    }
    for name in varied.names:
        send_items(varied.server, name, changed, teacher, seed=1)
    # Sent again, as after an answer that was lost: nothing changes.
    for name in varied.names:
        send_items(varied.server, name, changed, teacher, seed=1)
    assert len(varied.search(queries[0], filter={"field": "kind", "eq": "vase"}, limit=50)["hits"]) == len(changed)
    varied.search(queries[0], limit=200)
    varied.ask("DELETE", "/items/new")
    varied.ask("DELETE", "/items/new")
    varied.ask("POST", "/items/delete", json={"ids": ["item 000", "nobody"]})
    varied.ask("POST", "/items/delete", json={"filter": {"field": "price", "range": {"lt": 10}}})
    varied.ask("POST", "/items/delete", json={"filter": {"field": "kind", "eq": "vase"}})
    varied.search(queries[0], limit=200)
    varied.ids()
    for name in varied.names:
        send_items(varied.server, name, VARIED, teacher)
    assert varied.ids() == sorted(VARIED, key=str.encode)
    varied.search(queries[0], limit=200)


def test_both_admit_the_same_student_by_the_same_figures(
    both: RunningServer, teacher: Encoder, student_file: Path, photo: Path
) -> None:
    objects = Both(both, "objects", teacher.space_id)
    reports = [
        both.http.post(f"/v1/galleries/{name}/encoders", content=student_file.read_bytes()).json()["report"]
        for name in objects.names
    ]
    measured = [
        {key: each[key] for key in ("admitted", "reasons", "mean_cosine", "recall_at_10", "probes")} for each in reports
    ]
    assert measured[0] == measured[1]
    assert measured[0]["admitted"]
    hits = objects.search(Encoder(student_file).encode(photo), encoder="student@1")["hits"]
    assert hits[0]["id"] == photo.stem
    photos = [both.http.get(f"/v1/galleries/{name}/items/{photo.stem}/photo").content for name in objects.names]
    assert photos == [photo.read_bytes()] * 2


def test_what_needs_the_items_on_the_servers_disk_is_refused(both: RunningServer) -> None:
    path = "/v1/galleries/varied-milvus"
    assert_problem(both.http.post(f"{path}/snapshots"), 422, "validation", "are in Milvus")
    assert_problem(both.http.put(f"{path}/offline-pack", json={"fields": []}), 422, "validation", "are in Milvus")
    assert_problem(both.http.put(f"{path}/index", json={"kind": "two-stage"}), 422, "validation", "whose index is FLAT")
    index = both.http.get(f"{path}/index").json()
    assert (index["kind"], index["exact"], index["vectors"]) == ("milvus", True, len(VARIED))


def test_a_restarted_server_answers_as_before(
    moved: Path, both: RunningServer, varied: Both, queries: np.ndarray
) -> None:
    before = [varied.search(query, limit=50) for query in queries]
    both.kill()
    with RunningServer(moved, "--gallery", "objects") as again:
        restarted = Both(again, "varied", varied.space)
        assert [restarted.search(query, limit=50) for query in queries] == before
