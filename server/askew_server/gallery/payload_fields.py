"""Of a payload, only some fields."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import to_json

from askew_client.contract.filters.field_paths import keys_of
from askew_server.storage.filtering.predicates import read_payload


def selected_fields(payload: bytes, fields: Sequence[str]) -> bytes:
    """Of a payload, which is JSON, only these fields, as JSON; those that it lacks are left out."""
    selected: dict[str, object] = {}
    whole = read_payload(payload.decode())
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
    # orjson refuses integers beyond 64 bits, and a payload may hold them.
    return to_json(selected)
