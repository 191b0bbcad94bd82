"""API keys as they travel: what one may do, and what a server says of those it knows."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from askew_client.contract.common import GalleryName

Scope = Literal["search", "write", "admin"]
"""What a key may do. Each includes the one before: search; change and list items, follow jobs; everything."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(moment: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970, as text too."""
    if isinstance(moment, datetime) or (isinstance(moment, str) and _DATE_TIME.match(moment)):
        return moment
    raise ValueError("expected a date and time such as 2027-01-31T00:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]


class CreateKeyRequest(BaseModel):
    """The JSON body of `POST /v1/keys`.

    `name`: for people, to know it by. `galleries`: the galleries (or aliases) that it is limited to; null: all of
    them. `requests_per_second`: null: no bound. `expires_at`: with its offset from UTC; null: never.
    """

    model_config = ConfigDict(extra="forbid")

    name: KeyName
    scopes: list[Scope] = Field(min_length=1, max_length=3)
    galleries: list[GalleryName] | None = Field(default=None, min_length=1, max_length=100)
    requests_per_second: float | None = Field(default=None, gt=0, le=1_000_000, allow_inf_nan=False)
    expires_at: Moment | None = None


class KeyDescription(BaseModel):
    """A key as its owners see it; the key itself is nowhere kept. `id`: the part of the key behind `ask_`."""

    id: str
    name: str
    scopes: list[Scope]
    galleries: list[str] | None = None
    requests_per_second: float | None = None
    created_at: str
    expires_at: str | None = None


class CreatedKey(KeyDescription):
    """The answer to `POST /v1/keys`: the only time that `key`, the text to send, is seen."""

    key: str


class KeyList(BaseModel):
    """The keys that a server knows, oldest first."""

    keys: list[KeyDescription]


class RevokedKey(BaseModel):
    """The id of a key that is no key any more."""

    revoked: str
