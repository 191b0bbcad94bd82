"""Many items and ids: how they are split into requests, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from askew_client import Client
from askew_client.calls.batches import ItemBatch, NewItem, async_item_batches, item_batches
from askew_client.contract.wire import unpack
from askew_client.errors import WireError
from askew_server.http.receiving.item_bodies import RawItems
from tests.support.scripted_server import ScriptedServer

SPACE = "sp1-" + "0" * 32
VECTOR = np.array([0.6, 0.8, 0, 0], dtype=np.float32)


def test_items_are_sent_as_a_json_header_and_raw_vectors(server: ScriptedServer, client: Client) -> None:
    server.answer({"upserted": 2, "sequence": 7})
    client.upsert(["a", "ü"], np.stack([VECTOR, VECTOR[::-1]]), [{"title": "Ä"}, {}], gallery="demo", space=SPACE)
    (request,) = server.requests
    assert request.headers["content-type"] == "application/vnd.askew.items"
    read = RawItems(request.body)
    assert (read.space, read.ids, [json.loads(each) for each in read.payloads]) == (
        SPACE,
        ["a", "ü"],
        [{"title": "Ä"}, {}],
    )
    assert np.allclose(read.vectors(4), [VECTOR, VECTOR[::-1]], atol=1e-3)
    (length,) = struct.unpack_from("<I", request.body)
    assert unpack(request.body[4 + length :][:8], "f16le", 4) == pytest.approx(VECTOR, abs=1e-3)


def test_items_are_produced_while_they_are_sent(server: ScriptedServer, client: Client) -> None:
    server.answer({"upserted": 1, "sequence": 1})
    requests_before: list[int] = []

    def produced() -> Iterator[NewItem]:
        for number in range(20_002):
            requests_before.append(len(server.requests))
            yield f"item-{number}", VECTOR, {}

    assert client.upsert_items(produced(), gallery="demo", space=SPACE).upserted == len(server.requests) == 3
    # The item that no longer fits into a request is produced before that request is sent.
    assert [requests_before.index(count) for count in (1, 2)] == [10_001, 20_001]


def collected(items: Iterator[NewItem], *, max_bytes: int, asynchronous: bool) -> list[ItemBatch]:
    """The batches of items, from the function of the one client or of the other."""
    if not asynchronous:
        return list(item_batches(items, max_bytes=max_bytes))

    async def produced() -> AsyncIterator[NewItem]:
        for item in items:
            yield item

    async def run() -> list[ItemBatch]:
        return [batch async for batch in async_item_batches(produced(), max_bytes=max_bytes)]

    return asyncio.run(run())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_batches_are_bounded_in_bytes_and_keep_the_order(asynchronous: bool) -> None:
    items: list[NewItem] = [(f"item-{number}", VECTOR, {"text": "x" * (number % 50)}) for number in range(300)]
    batches = collected(iter(items), max_bytes=1_000, asynchronous=asynchronous)
    assert [name for batch in batches for name in batch.ids] == [name for name, _, _ in items]
    assert [payload for batch in batches for payload in batch.payloads] == [payload for _, _, payload in items]
    assert len(batches) > 10
    assert all(batch.size <= 1_000 for batch in batches)
    large: list[NewItem] = [("a", VECTOR, {"text": "x" * 5_000}), ("b", VECTOR, {})]
    alone = collected(iter(large), max_bytes=1_000, asynchronous=asynchronous)
    assert [batch.ids for batch in alone] == [["a"], ["b"]]


def test_invalid_items_are_refused_before_anything_is_sent(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(WireError, match="Item 'b'"):
        client.upsert(["a", "b"], np.stack([VECTOR, 2 * VECTOR]), gallery="demo", space=SPACE)
    longer = np.array([1, 0, 0, 0, 0], dtype=np.float32)
    with pytest.raises(WireError, match="Expected a vector of 4 values"):
        client.upsert_items([("a", VECTOR, {}), ("b", longer, {})], gallery="demo", space=SPACE)
    with pytest.raises(ValueError, match="at least one item"):
        client.upsert_items([], gallery="demo", space=SPACE)
    with pytest.raises(ValueError, match="at least one id"):
        client.delete_items([], gallery="demo")
    assert not server.requests


def test_an_id_that_is_named_twice_is_counted_and_deleted_once(server: ScriptedServer, client: Client) -> None:
    ids = [str(number) for number in range(10_001)]
    server.answer({"count": 9_000})
    server.answer({"count": 1, "unknown_fields": ["n"]})
    server.answer({"deleted": 10_000, "sequence": 1})
    server.answer({"deleted": 0, "sequence": 1, "unknown_ids": ["10000"]})
    assert client.count_items([*ids, *ids], gallery="demo").count == 9_001
    assert client.delete_items([*ids, "10000"], gallery="demo").unknown_ids == ["10000"]
    sent = [each.json["ids"] for each in server.requests]
    assert sent == [ids[:10_000], ids[10_000:], ids[:10_000], ids[10_000:]]


def test_delete_sends_ten_thousand_ids_in_each_request(server: ScriptedServer, client: Client) -> None:
    server.answer({"deleted": 10_000, "sequence": 1})
    server.answer({"deleted": 1, "sequence": 2})
    answer = client.delete_items([str(number) for number in range(10_001)], gallery="demo")
    assert (answer.deleted, answer.sequence) == (10_001, 2)
    client.delete_items(gallery="demo", filter={"field": "kind", "eq": "x"})
    assert server.requests[-1].json == {"filter": {"field": "kind", "eq": "x"}}
