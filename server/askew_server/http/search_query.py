"""Search requests: parsing the options in a query string, and running it for a client that waits."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from urllib.parse import parse_qsl

from pydantic import TypeAdapter
from starlette.types import Receive

from askew_client.contract.filters.conditions import Filter
from askew_client.contract.problems import ProblemKind
from askew_client.contract.search import SearchOptions
from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.gallery.search import SearchResult
from askew_server.http.concurrency import while_connected
from askew_server.http.context import RequestContext
from askew_server.http.routing import RouteMatch
from askew_server.http.state import AppState
from askew_server.index.types import Vectors

_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)
_REPEATED = {"exclude"}


async def run_search(
    state: AppState,
    gallery: LiveGallery,
    vectors: Vectors,
    encoders: Collection[str | None],
    options: SearchOptions,
    context: RequestContext,
    receive: Receive,
) -> SearchResult:
    """Search with float32 [n, D] vectors that `encoders` made, while the client is connected.

    Raises Refusal: encoder-not-admitted, overloaded, answer-too-large, validation; ClientDisconnect.
    """
    facts = gallery.encoders.facts
    for encoder in encoders:
        facts.check(encoder)
    threshold = options.score_threshold
    if options.max_false_match is not None:
        threshold = facts.threshold_for(next(iter(encoders)), options.max_false_match)
    result = await while_connected(receive, gallery.search(vectors, options, threshold, context.size))
    context.record.stages += result.stages
    context.record.index = result.index
    state.metrics.batch_searched(gallery.name, result.together)
    if options.filter is None and len(encoders) == 1:
        encoder = next(iter(encoders))
        for hits in result.hits:
            if hits:
                state.metrics.top_score(gallery.name, encoder, hits[0].score)
    return result


def options_of(query: bytes, match: RouteMatch, others: frozenset[str] = frozenset()) -> SearchOptions:
    """The options in a query string; `others` are parameters that mean something else to the route.

    Lists are parameters given several times, `filter` is JSON text. Raises ValidationError, or Refusal (validation)
    for an unknown parameter.
    """
    # A path without a gallery takes it as a parameter; the match has read it already.
    named_in_path = "gallery" in match.parameters
    return _parse_options(query, others if named_in_path else others | {"gallery"})


@lru_cache(maxsize=256)
def _parse_options(query: bytes, others: frozenset[str]) -> SearchOptions:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given: dict[str, object] = {}
    for name in dict(pairs):
        values = [value for key, value in pairs if key == name]
        if name in others:
            continue
        if name not in SearchOptions.model_fields:
            raise Refusal(
                ProblemKind.VALIDATION,
                f"Unknown parameter {name[:40]!r}. Known: {', '.join([*SearchOptions.model_fields, *sorted(others)])}.",
            )
        is_list = name in _REPEATED or (name == "with_payload" and (len(values) > 1 or not _is_flag(values[0])))
        given[name] = values if is_list else values[-1]
    if "filter" in given:
        given["filter"] = _FILTER.validate_json(str(given["filter"]))
    return SearchOptions.model_validate(given)


def _is_flag(text: str) -> bool:
    return text.lower() in {"true", "false", "1", "0"}
