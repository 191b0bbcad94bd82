"""Where a gallery's items are in Milvus, and the secret that opens it.

The place is a fact of the gallery, without the secret: a copy of DATA does not open the database.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, ValidationError

from askew_client.errors import AskewError
from askew_client.wording import describe_error
from askew_server.errors import MissingSecret

TOKEN = "ASKEW_MILVUS_TOKEN"
"""The environment variable with the token, or with USER:PASSWORD."""
TOKEN_FILE = "ASKEW_MILVUS_TOKEN_FILE"
"""The environment variable with the path of a file that holds it, as containers mount secrets."""

_ADDRESS = re.compile(
    r"milvus(?P<tls>\+tls)?://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?(/(?P<database>[A-Za-z_][A-Za-z0-9_]{0,62}))?/?"
)
_DEFAULT_PORT = 19530

# JSON holds no NaN: a place with one could be written, and not read again.
Parameters = dict[str, str | int | FiniteFloat | bool]


class MilvusPlace(BaseModel):
    """One collection of one Milvus, and how its vectors are indexed.

    `address`: milvus://HOST:PORT/DATABASE, or milvus+tls://… `index_type`, `index_parameters`, `search_parameters`: as
    Milvus names them. `shards`, `replicas`: as the collection is created and loaded. `needs_token`: it was made with one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    collection: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
    index_type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,40}$")] = "FLAT"
    index_parameters: Parameters = {}
    search_parameters: Parameters = {}
    shards: Annotated[int, Field(ge=1, le=64)] = 1
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    needs_token: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """The place in a gallery's fact. Raises ValueError."""
        try:
            place = cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"its place in Milvus is damaged ({describe_error(error)})") from None
        if _ADDRESS.fullmatch(place.address) is None:
            raise ValueError(f"its place in Milvus has the address {place.address[:80]!r}, which is none")
        return place

    @classmethod
    def of(cls, address: str, collection: str, **chosen: object) -> Self:
        """The place that a command names. Raises AskewError for what cannot be one."""
        parse_address(address)
        try:
            return cls.model_validate(
                {"address": address, "collection": collection, "needs_token": read_token() is not None, **chosen}
            )
        except ValidationError as error:
            raise AskewError(describe_error(error)) from None

    @property
    def is_exact(self) -> bool:
        """Whether Milvus compares every vector."""
        return self.index_type == "FLAT"

    @property
    def uri(self) -> str:
        """The address as pymilvus takes it, without the database."""
        tls, host, port, _ = parse_address(self.address)
        return f"{'https' if tls else 'http'}://{host}:{port}"

    @property
    def database(self) -> str:
        """The database's name; empty for the default one."""
        return parse_address(self.address)[3]

    def is_as(self, other: MilvusPlace) -> bool:
        """Whether it is the same collection with the same index, be it reached with a token or without one."""
        return self.model_copy(update={"needs_token": other.needs_token}) == other

    def __str__(self) -> str:
        return f"collection {self.collection} at {self.address}"


def parse_address(address: str) -> tuple[Literal[True, False], str, int, str]:
    """Whether it speaks TLS, host, port and database of an address. Raises AskewError."""
    match = _ADDRESS.fullmatch(address)
    port = int(match["port"] or _DEFAULT_PORT) if match else 0
    if match is None or not 1 <= port <= 65_535:
        raise AskewError(
            f"Expected the address of a Milvus, such as milvus://milvus.example:19530 (milvus+tls:// with TLS), without a "
            f"user or password, got {_without_secret(address)[:120]!r}. The token is read from {TOKEN} or {TOKEN_FILE}."
        )
    return match["tls"] is not None, match["host"], port, match["database"] or ""


def read_token() -> str | None:
    """The token in the environment; None if there is none. Raises MissingSecret for a file that cannot be read."""
    token, path = os.environ.get(TOKEN), os.environ.get(TOKEN_FILE)
    if token:
        return token
    if not path:
        return None
    try:
        content = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise MissingSecret(f"Expected the token for Milvus in {path} ({TOKEN_FILE}), but {reason}.") from None
    if not content:
        raise MissingSecret(f"Expected the token for Milvus in {path} ({TOKEN_FILE}), but the file is empty.")
    return content


def token_for(place: MilvusPlace) -> str | None:
    """The token to open a place with. Raises MissingSecret if it needs one and the environment has none."""
    token = read_token()
    if token is None and place.needs_token:
        raise MissingSecret(
            f"Expected the token for Milvus at {place.address} in the environment variable {TOKEN}, or in a file that "
            f"{TOKEN_FILE} names, but neither is set. Set one and start again."
        )
    return token


def _without_secret(address: str) -> str:
    """An address as it may be shown: what stands before an @ may be a password."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else address
