"""One search of a request: whose query it is, what it finds, and what is noticed of it."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from pydantic import TypeAdapter
from starlette.types import Receive

from askew_client.contract.filters import Filter
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchOptions
from askew_server.errors import Refusal
from askew_server.gallery.live import OwnedGallery, SearchResult
from askew_server.http.concurrency import while_connected
from askew_server.http.state import Service
from askew_server.index.types import Vectors
from askew_server.observability.request_record import RequestRecord

_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
_REPEATED = {"exclude"}


async def found(
    service: Service,
    owned: OwnedGallery,
    vectors: Vectors,
    encoders: Collection[str | None],
    options: SearchOptions,
    call: RequestRecord,
    receive: Receive,
) -> SearchResult:
    """Search with float32 [n, D] vectors that `encoders` made, while the client is there.

    Raises Refusal: encoder-not-admitted, overloaded, validation; ClientDisconnect.
    """
    facts = owned.encoders.facts
    for encoder in encoders:
        facts.check(encoder)
    threshold = options.score_threshold
    if options.max_false_match is not None:
        threshold = facts.threshold_for(next(iter(encoders)), options.max_false_match)
    result = await while_connected(receive, owned.search(vectors, options, threshold))
    call.stages += result.stages
    service.metrics.batch_searched(owned.name, result.together)
    if options.filter is None and len(encoders) == 1:
        encoder = next(iter(encoders))
        for hits in result.hits:
            if hits:
                service.metrics.top_score(owned.name, encoder, hits[0].score)
    return result


@lru_cache(maxsize=256)
def options_of(query: bytes, others: frozenset[str] = frozenset()) -> SearchOptions:
    """The options in a query string; `others` are parameters that belong to somebody else.

    Lists are parameters given several times, `filter` is JSON text. Raises ValidationError, or Refusal (validation)
    for a parameter that there is none of.
    """
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given: dict[str, object] = {}
    for name in dict(pairs):
        values = [value for key, value in pairs if key == name]
        if name in others:
            continue
        if name not in SearchOptions.model_fields:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"There is no parameter {name[:40]!r}. Known: {', '.join([*SearchOptions.model_fields, *sorted(others)])}.",
            )
        is_list = name in _REPEATED or (name == "with_payload" and (len(values) > 1 or not _is_flag(values[0])))
        given[name] = values if is_list else values[-1]
    if "filter" in given:
        given["filter"] = _FILTER.validate_json(str(given["filter"]))
    return SearchOptions.model_validate(given)


def option_parameters() -> list[dict[str, Any]]:
    """The options as query parameters, for the OpenAPI document."""
    schemas: dict[str, dict[str, Any]] = SearchOptions.model_json_schema()["properties"]
    schemas["filter"] = {"type": "string", "description": "A condition on payloads, as JSON text."}
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()]


def raw_parameters() -> list[dict[str, Any]]:
    """What comes along with a raw vector, for the OpenAPI document."""
    texts = {
        "Askew-Space": "The space of a raw vector.",
        "Askew-Dtype": "The dtype of a raw vector: f16le or f32le.",
        "Askew-Encoder": "The encoder that made a raw vector.",
    }
    headers = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in texts.items()
    ]
    return [*headers, *option_parameters()]


def _is_flag(text: str) -> bool:
    return text.lower() in {"true", "false", "1", "0"}
