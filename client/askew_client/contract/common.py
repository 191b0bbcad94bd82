"""Types that several kinds of requests share: names, ids, payloads, vectors."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

MAX_PAYLOAD_LEVELS = 32

GalleryName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
ItemId = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,512}$")]


def _checked_payload(payload: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse a payload that could be stored but not be returned inside a JSON answer."""
    level: list[dict[str, JsonValue] | list[JsonValue]] = [payload]
    for _ in range(MAX_PAYLOAD_LEVELS):
        below: list[dict[str, JsonValue] | list[JsonValue]] = []
        for value in level:
            for child in value.values() if isinstance(value, dict) else value:
                if isinstance(child, float) and not math.isfinite(child):
                    raise ValueError("expected finite numbers; JSON has neither NaN nor infinity")
                if isinstance(child, dict | list):
                    below.append(child)
        if not below:
            return payload
        level = below
    raise ValueError(f"expected a payload of at most {MAX_PAYLOAD_LEVELS} nested levels")


Payload = Annotated[dict[str, JsonValue], AfterValidator(_checked_payload)]
Vector = str | Annotated[list[float], Field(fail_fast=True)]
"""base64 text of the raw vector, with its dtype in a separate member, or a list of numbers."""


class RequestBody(BaseModel):
    """The JSON body of a request. Unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


MAX_BATCH = 1_000
