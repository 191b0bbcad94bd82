"""Search answers as JSON text, put together from what the database holds as JSON already.

Nothing is parsed and written again: at 2,000 answers a second that would take as long as the searches.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as _quoted

from pydantic_core import from_json, to_json

from askew_client.contract.search import SearchOptions
from askew_server.gallery.ranking import FoundItem


def hits_json(hits: Sequence[FoundItem], options: SearchOptions) -> str:
    """A JSON list of hits; see Hit."""
    if options.with_payload is True and not options.with_vectors and options.group_by is None:
        return f"[{','.join([_plain(hit) for hit in hits])}]"
    return f"[{','.join([_hit(hit, options) for hit in hits])}]"


def answer_json(
    hits: Sequence[FoundItem],
    options: SearchOptions,
    *,
    space: str,
    gallery: str,
    encoder: str | None,
    index: str,
    exact: bool,
) -> bytes:
    """A SearchAnswer."""
    # Spaces and the names of galleries and indexes hold nothing that JSON would escape.
    named = "" if encoder is None else f',"encoder":{_quoted(encoder)}'
    is_exact = "true" if exact else "false"
    return (
        f'{{"hits":{hits_json(hits, options)},"space":"{space}","gallery":"{gallery}"{named},'
        f'"index":"{index}","exact":{is_exact}}}'
    ).encode()


def batch_json(
    results: Sequence[Sequence[FoundItem]],
    options: SearchOptions,
    *,
    space: str,
    gallery: str,
    index: str,
    exact: bool,
) -> bytes:
    """A BatchSearchAnswer."""
    listed = ",".join([f'{{"hits":{hits_json(hits, options)}}}' for hits in results])
    is_exact = "true" if exact else "false"
    return f'{{"results":[{listed}],"space":"{space}","gallery":"{gallery}","index":"{index}","exact":{is_exact}}}'.encode()


def _plain(hit: FoundItem) -> str:
    return f'{{"id":{_quoted(hit.id)},"score":{hit.score!r},"payload":{hit.payload}}}'


def _hit(hit: FoundItem, options: SearchOptions) -> str:
    members = [f'"id":{_quoted(hit.id)}', f'"score":{hit.score!r}']
    if options.with_payload is True:
        members.append(f'"payload":{hit.payload}')
    elif options.with_payload is not False:
        members.append(f'"payload":{to_json(_picked(hit.payload, options.with_payload)).decode()}')
    if options.with_vectors:
        members.append(f'"vector":"{base64.b64encode(hit.vector).decode()}","dtype":"f16le"')
    if hit.group is not None:
        members.append(f'"group":{to_json(hit.group).decode()}')
    return f"{{{','.join(members)}}}"


def _picked(payload: str, fields: Sequence[str]) -> dict[str, object]:
    """Of a payload, only these fields; those that it lacks are left out."""
    picked: dict[str, object] = {}
    whole = from_json(payload)
    for path in fields:
        source, target = whole, picked
        *parents, last = path.split(".")
        for key in parents:
            source = source.get(key) if isinstance(source, dict) else None
        if not isinstance(source, dict) or last not in source:
            continue
        for key in parents:
            inner = target.setdefault(key, {})
            # Another field may have brought the whole of it already.
            target = inner if isinstance(inner, dict) else {}
        target[last] = source[last]
    return picked
