"""Wire models of API keys: creating, describing, listing, revoking."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

from askew_client.contract.common import GalleryName
from askew_client.contract.shown import Listed, ShortRepr

Scope = Literal["search", "write", "admin"]
"""What a key may do: search; also change and list items and follow jobs; everything. Each includes the one before."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written_out(moment: object) -> object:
    """Refuse numbers, also as text: pydantic would read them as seconds since 1970. Read text, also in a strict reading."""
    if isinstance(moment, str) and _DATE_TIME.match(moment):
        try:
            return datetime.fromisoformat(moment)
        except ValueError:
            # pydantic says what is wrong.
            return moment
    if isinstance(moment, datetime):
        return moment
    raise ValueError("expected a date and time such as 2027-01-31T00:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
KeyName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]


class CreateKeyRequest(BaseModel):
    """The JSON body of `POST /v1/keys`.

    `name`: a description for people. `galleries`: the galleries (or aliases) that the key may use; null: all.
    `requests_per_second`: null: unlimited. `expires_at`: with its offset from UTC; null: never.
    """

    model_config = ConfigDict(extra="forbid")

    name: KeyName
    scopes: list[Scope] = Field(min_length=1, max_length=3)
    galleries: list[GalleryName] | None = Field(default=None, min_length=1, max_length=100)
    requests_per_second: Annotated[float, Strict()] | None = Field(
        default=None, gt=0, le=1_000_000, allow_inf_nan=False
    )
    expires_at: Moment | None = None


class KeyDescription(ShortRepr):
    """The description of a key; the key itself is not stored anywhere. `id`: the part of the key after `ask_`."""

    id: str
    name: str
    scopes: list[Scope]
    galleries: list[str] | None = None
    requests_per_second: float | None = None
    created_at: str
    expires_at: str | None = None


class CreatedKey(KeyDescription):
    """The answer to `POST /v1/keys`. `key`: the text to send; it is shown only here."""

    key: str


class KeyList(Listed[KeyDescription]):
    """The keys of a server, oldest first."""

    keys: list[KeyDescription]

    def _entries(self) -> list[KeyDescription]:
        return self.keys


class RevokedKey(BaseModel):
    """The id of the key that was revoked."""

    revoked: str
