"""Search answers as JSON. Payloads are stored as JSON text and copied into the answer unparsed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic_core import to_json

from askew_client.contract.field_paths import keys_of
from askew_client.contract.search import SearchOptions
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.ranking import FoundItem
from askew_server.gallery.search import SearchResult
from askew_server.storage.predicates import read_payload


def search_answer(result: SearchResult, options: SearchOptions, gallery: LiveGallery, encoder: str | None) -> bytes:
    """A SearchAnswer: the hits of the only query."""
    answer = {"hits": _hits(result.hits[0], options), "space": gallery.space, "gallery": gallery.name}
    named = {} if encoder is None else {"encoder": encoder}
    return orjson.dumps({**answer, **named, **_facts(result)})


def batch_answer(result: SearchResult, options: SearchOptions, gallery: LiveGallery) -> bytes:
    """A BatchSearchAnswer: the hits of each query."""
    results = [{"hits": _hits(hits, options)} for hits in result.hits]
    place = {"space": gallery.space, "gallery": gallery.name}
    return orjson.dumps({"results": results, **place, **_facts(result)})


def _facts(result: SearchResult) -> dict[str, Any]:
    """What an answer says of the search; fields that no item has only if there are any."""
    facts: dict[str, Any] = {"index": result.index, "exact": result.exact}
    if result.unknown_fields:
        facts["unknown_fields"] = result.unknown_fields
    return facts


def _hits(hits: Sequence[FoundItem], options: SearchOptions) -> list[dict[str, Any]]:
    if options.with_payload is True and not options.with_vectors and options.group_by is None:
        return [{"id": hit.id, "score": hit.score, "payload": orjson.Fragment(hit.payload)} for hit in hits]
    return [_hit(hit, options) for hit in hits]


def _hit(hit: FoundItem, options: SearchOptions) -> dict[str, Any]:
    members: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if options.with_payload is True:
        members["payload"] = orjson.Fragment(hit.payload)
    elif options.with_payload is not False:
        members["payload"] = _fragment(_selected(hit.payload, options.with_payload))
    if options.with_vectors:
        members["vector"], members["dtype"] = base64.b64encode(hit.vector).decode(), "f16le"
    if hit.group is not None:
        members["group"] = _fragment(hit.group)
    return members


def _fragment(value: object) -> orjson.Fragment:
    # orjson refuses integers beyond 64 bits, and a payload may hold them.
    return orjson.Fragment(to_json(value))


def _selected(payload: str, fields: Sequence[str]) -> dict[str, object]:
    """Of a payload, only these fields; those that it lacks are left out."""
    selected: dict[str, object] = {}
    whole = read_payload(payload)
    for path in fields:
        source, target = whole, selected
        *parents, last = keys_of(path)
        for key in parents:
            source = source.get(key) if isinstance(source, dict) else None
        if not isinstance(source, dict) or last not in source:
            continue
        for key in parents:
            inner = target.setdefault(key, {})
            # Another field may have brought the whole of it already.
            target = inner if isinstance(inner, dict) else {}
        target[last] = source[last]
    return selected
