"""Search answers and listings as JSON. Payloads are stored as JSON text and copied into the answer unparsed.

An answer that is not small is made in parts, between which the event loop serves others; see responses.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import orjson
from pydantic_core import to_json

from askew_client.contract.search import SearchOptions
from askew_server.gallery.answer_size import AnswerSize
from askew_server.gallery.items import FoundPage, ItemAsStored
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.ranking import FoundItem
from askew_server.gallery.search import SearchResult
from askew_server.http.responses import Parts, joined


async def search_answer(
    result: SearchResult, options: SearchOptions, gallery: LiveGallery, encoder: str | None, size: AnswerSize
) -> Parts:
    """A SearchAnswer: the hits of the only query. Afterwards the result has no hits any more."""
    (hits,) = result.hits
    place = {"space": gallery.space, "gallery": gallery.name}
    named = {} if encoder is None else {"encoder": encoder}
    rest = {**place, **named, **_facts(result)}
    if size.is_small:
        return [orjson.dumps({"hits": _small_hits(hits, options), **rest})]
    return await joined(_around(b'{"hits":[', _hits(hits, options), b"],", rest))


async def batch_answer(result: SearchResult, options: SearchOptions, gallery: LiveGallery, size: AnswerSize) -> Parts:
    """A BatchSearchAnswer: the hits of each query. Afterwards the result has no hits any more."""
    rest = {"space": gallery.space, "gallery": gallery.name, **_facts(result)}
    if size.is_small:
        results = [{"hits": _small_hits(hits, options)} for hits in result.hits]
        return [orjson.dumps({"results": results, **rest})]
    return await joined(_around(b'{"results":[', _results(result.hits, options), b"],", rest))


def _facts(result: SearchResult) -> dict[str, Any]:
    """What an answer says of the search; fields that no item has only if there are any."""
    facts: dict[str, Any] = {"index": result.index, "exact": result.exact}
    if result.unknown_fields:
        facts["unknown_fields"] = result.unknown_fields
    return facts


async def item_answer(item: ItemAsStored) -> Parts:
    """An Item."""
    return await joined(_item(item))


async def page_answer(page: FoundPage) -> Parts:
    """An ItemPage. Afterwards the page has no items any more."""
    rest: dict[str, Any] = {} if page.next_cursor is None else {"next_cursor": page.next_cursor}
    if page.unknown_fields:
        rest["unknown_fields"] = page.unknown_fields
    return await joined(_around(b'{"items":[', _items(page), b"]," if rest else b"]", rest))


def _around(begin: bytes, parts: Iterator[bytes], end: bytes, rest: dict[str, Any]) -> Iterator[bytes]:
    """A JSON object whose first member is made of parts, and whose other ones are `rest`."""
    yield begin
    yield from parts
    yield end
    yield orjson.dumps(rest)[1:]


def _results(results: list[list[FoundItem]], options: SearchOptions) -> Iterator[bytes]:
    for number, hits in enumerate(results):
        yield b'{"hits":[' if number == 0 else b',{"hits":['
        yield from _hits(hits, options)
        yield b"]}"


def _hits(hits: list[FoundItem], options: SearchOptions) -> Iterator[bytes]:
    """The hits, separated by commas. Each is forgotten once it is written, so that it does not take memory twice."""
    hits.reverse()
    while hits:
        hit = hits.pop()
        yield from _with_payload(_members(hit, options), hit.payload if options.with_payload is not False else None)
        if hits:
            yield b","


def _items(page: FoundPage) -> Iterator[bytes]:
    items = page.items
    items.reverse()
    while items:
        yield from _item(items.pop())
        if items:
            yield b","


def _item(item: ItemAsStored) -> Iterator[bytes]:
    members: dict[str, Any] = {"id": item.id, "has_photo": item.photo_sha256 is not None}
    if item.photo_sha256 is not None:
        members["photo_sha256"] = item.photo_sha256
    if item.vector:
        members["vector"], members["dtype"] = base64.b64encode(item.vector).decode(), "f16le"
    return _with_payload(members, item.payload)


def _with_payload(members: dict[str, Any], payload: bytes | None) -> Iterator[bytes]:
    """A JSON object with a payload, whose bytes are not copied."""
    if payload is None:
        yield orjson.dumps(members)
        return
    yield orjson.dumps(members)[:-1] + b',"payload":'
    yield payload
    yield b"}"


def _small_hits(hits: list[FoundItem], options: SearchOptions) -> list[dict[str, Any]]:
    """The hits of a small answer."""
    if options.with_payload is True and not options.with_vectors and options.group_by is None:
        return [{"id": hit.id, "score": hit.score, "payload": orjson.Fragment(hit.payload or b"{}")} for hit in hits]
    return [_hit(hit, options) for hit in hits]


def _hit(hit: FoundItem, options: SearchOptions) -> dict[str, Any]:
    members = _members(hit, options)
    if options.with_payload is not False:
        members["payload"] = orjson.Fragment(hit.payload or b"{}")
    return members


def _members(hit: FoundItem, options: SearchOptions) -> dict[str, Any]:
    """The members of a hit but for its payload."""
    members: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if options.with_vectors:
        members["vector"], members["dtype"] = base64.b64encode(hit.vector).decode(), "f16le"
    if hit.group is not None:
        # orjson refuses integers beyond 64 bits, and a payload may hold them.
        members["group"] = orjson.Fragment(to_json(hit.group))
    return members
