"""The search option `diffuse`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.wire import pack, pack_base64
from tests.support.problem_shape import assert_problem
from tests.support.running_server import RunningServer

Query = NDArray[np.float32]
OURS = {"field": "kind", "eq": "diffused"}
ITEMS = "/v1/galleries/objects/items"


@pytest.fixture(scope="module")
def views(server: RunningServer, query: Query, headers: dict[str, str]) -> Iterator[None]:
    """A photo like the query, another view that resembles that photo and not the query, and photos of other things."""
    random = np.random.default_rng(0).standard_normal((len(query), 30))
    axes = np.linalg.qr(np.column_stack([query, random]))[0].T
    axes[0] = query
    vectors = {
        "near": 0.9 * axes[0] + 0.44 * axes[1],
        "other-view": 0.2 * axes[0] + 0.97 * axes[1],
        **{f"wrong-{n:02d}": (0.45 - n / 100) * axes[0] + 0.9 * axes[n + 2] for n in range(20)},
    }
    items = [
        {
            "id": name,
            "vector": pack_base64((vector / np.linalg.norm(vector)).astype(np.float32)),
            "dtype": "f16le",
            "payload": {"kind": "diffused", "title": name},
        }
        for name, vector in vectors.items()
    ]
    assert server.http.put(ITEMS, json={"space": headers["Askew-Space"], "items": items}).status_code == 200
    yield
    server.http.post(f"{ITEMS}/delete", json={"ids": list(vectors)})


@pytest.fixture
def search(server: RunningServer, query: Query, headers: dict[str, str], views: None):
    def run(**options: object) -> list[dict[str, Any]]:
        asked = {"vector": pack_base64(query), "dtype": "f16le", "space": headers["Askew-Space"], "filter": OURS}
        answer = server.http.post("/search", json={**asked, **options})
        assert answer.status_code == 200, answer.text
        hits: list[dict[str, Any]] = answer.json()["hits"]
        return hits

    return run


def ids(hits: list[Mapping[str, Any]]) -> list[str]:
    return [hit["id"] for hit in hits]


def test_another_view_is_found_over_the_first_hit(search):
    plain = search(limit=22)
    assert ids(plain)[:2] == ["near", "wrong-00"] and "other-view" not in ids(plain)[:10]
    diffused = search(limit=22, diffuse=100)
    assert ids(diffused)[:2] == ["near", "other-view"]
    # The same items with the same scores and payloads, in another order.
    assert sorted(diffused, key=lambda hit: hit["id"]) == sorted(plain, key=lambda hit: hit["id"])
    assert search(limit=3, diffuse=100) == diffused[:3]


def test_what_lies_deeper_follows_in_its_old_order(search):
    plain = ids(search(limit=22))
    assert ids(search(limit=22, diffuse=5))[5:] == plain[5:]
    assert set(ids(search(limit=5, diffuse=5))) == set(plain[:5])


def test_a_threshold_leaves_out_hits_by_score_and_not_the_paths_over_them(search):
    found = search(limit=22, diffuse=100, score_threshold=0.4)
    assert ids(found)[0] == "near" and "other-view" not in ids(found)
    assert set(ids(found)) == set(ids(search(limit=22, score_threshold=0.4)))
    assert search(diffuse=100, score_threshold=0.99) == []


def test_it_goes_with_the_other_options(search):
    full = search(limit=4, diffuse=100)
    assert ids(search(limit=4, diffuse=100, exclude=["other-view"]))[:2] == ["near", "wrong-00"]
    assert "near" not in ids(search(diffuse=100, exclude=["near"]))
    named = search(limit=4, diffuse=100, with_payload=["title"])
    assert [hit["payload"] for hit in named] == [{"title": name} for name in ids(full)]
    assert all("payload" not in hit and "vector" not in hit for hit in search(diffuse=100, with_payload=False))
    vectors = search(limit=4, diffuse=100, with_vectors=True)
    assert ids(vectors) == ids(full) and all(hit["dtype"] == "f16le" for hit in vectors)
    assert search(diffuse=100, filter={"field": "kind", "eq": "nothing else"}) == []


def test_raw_and_batch_and_similar_answers_are_the_single_answers(
    server: RunningServer, query: Query, headers: dict[str, str], search
):
    expected = search(limit=6, diffuse=50)
    filtered = '{"field": "kind", "eq": "diffused"}'
    raw = server.http.post(
        "/search", params={"limit": 6, "diffuse": 50, "filter": filtered}, content=pack(query), headers=headers
    )
    assert raw.json()["hits"] == expected
    one = {"vector": pack_base64(query), "dtype": "f16le", "space": headers["Askew-Space"]}
    batch = {"queries": [one] * 3, "limit": 6, "diffuse": 50, "filter": OURS}
    results = server.http.post("/search/batch", json=batch).json()["results"]
    assert [result["hits"] for result in results] == [expected] * 3
    similar = server.http.get(f"{ITEMS}/near/similar", params={"limit": 2, "diffuse": 50, "filter": filtered})
    assert ids(similar.json()["hits"])[0] == "other-view"


@pytest.mark.parametrize("depth", [1, 0, -5, 501, "many", True, 2.5])
def test_a_depth_out_of_range_is_refused(server: RunningServer, query: Query, headers: dict[str, str], depth):
    asked = {"vector": pack_base64(query), "dtype": "f16le", "space": headers["Askew-Space"], "diffuse": depth}
    assert_problem(server.http.post("/search", json=asked), 422, "validation", "diffuse")


def test_groups_are_not_diffused(server: RunningServer, query: Query, headers: dict[str, str]):
    asked = {"vector": pack_base64(query), "dtype": "f16le", "space": headers["Askew-Space"]}
    answer = server.http.post("/search", json={**asked, "diffuse": 10, "group_by": "kind"})
    assert_problem(answer, 422, "validation", "Expected diffuse or group_by, got both")
