"""`askew key create`, `askew key list`, `askew key revoke`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.keys import CreatedKey, CreateKeyRequest, KeyDescription

Data = Annotated[Path | None, typer.Option(help="The DATA directory; no server may be using it.")]
Server = Annotated[str | None, typer.Option(help="The URL of a running server, instead of --data.")]
AdminKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope admin.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

key = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


class _Keys(Protocol):
    """Where keys are made: a server, or the table of keys itself."""

    def create(self, wanted: CreateKeyRequest) -> CreatedKey: ...

    def describe_all(self) -> list[KeyDescription]: ...

    def revoke(self, identity: str) -> None: ...


@key.command()
def create(
    name: Annotated[str, typer.Argument(help="For people, to know the key by.")],
    scope: Annotated[list[str], typer.Option(help="search, write (and search), or admin (everything).")],
    gallery: Annotated[
        list[str] | None, typer.Option(help="Only this gallery, or alias; repeat it for several.")
    ] = None,
    requests_per_second: Annotated[float | None, typer.Option(help="How often it may ask.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 2027-01-31, or 2027-01-31T18:00; in UTC if no offset is named.")
    ] = None,
    data: Data = None,
    server: Server = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Only the key goes to stdout; it is kept nowhere and never shown again."""
    from pydantic import ValidationError

    from askew_client.contract.keys import CreateKeyRequest

    given = {
        "name": name,
        "scopes": scope,
        "galleries": gallery or None,
        "requests_per_second": requests_per_second,
        "expires_at": None if expires is None else _moment(expires),
    }
    try:
        wanted = CreateKeyRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AskewError(f"{first['loc'][0]}: {first['msg']}, got {str(first['input'])[:80]!r}.") from None
    with _keys(data, server, admin_key) as keys:
        created = keys.create(wanted)
    if as_json:
        typer.echo(created.model_dump_json(indent=1))
        return
    typer.echo(f"Key {created.id} ({_summary(created)}). This is the only time that it is shown:", err=True)
    typer.echo(created.key)


@key.command(name="list")
def list_keys(data: Data = None, server: Server = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the keys that were not revoked; never the keys themselves."""
    from askew_client.contract.keys import KeyList

    with _keys(data, server, admin_key) as keys:
        listed = keys.describe_all()
    if as_json:
        typer.echo(KeyList(keys=listed).model_dump_json(indent=1))
        return
    for each in listed:
        typer.echo(f"{each.id}  {each.name}  ({_summary(each)})")
    if not listed:
        typer.echo("There are no keys.", err=True)


@key.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="The key's id: the part behind `ask_`.")],
    data: Data = None,
    server: Server = None,
    admin_key: AdminKey = None,
) -> None:
    """Revoke a key, at once."""
    with _keys(data, server, admin_key) as keys:
        keys.revoke(identity)
    typer.echo(f"Key {identity} is revoked.")


@contextmanager
def _keys(data: Path | None, server: str | None, admin_key: str | None) -> Iterator[_Keys]:
    """The keys of a server, or of a DATA directory that is taken meanwhile. Raises AskewError, DataInUse."""
    if server is not None:
        from askew_client import Client

        with Client(server, key=admin_key) as client:
            yield _ServedKeys(client)
        return
    if data is None:
        raise AskewError("Say where the keys are: --data DIR (no server running on it), or --server URL.")
    from askew_server.auth.keys import KeyStore
    from askew_server.gallery.catalog import Catalog

    galleries = Catalog(data, owner="askew key")
    try:
        store = KeyStore(data)
        try:
            yield store
        finally:
            store.close()
    finally:
        galleries.close()


class _ServedKeys:
    """The keys of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, wanted: CreateKeyRequest) -> CreatedKey:
        return self._client.create_key(
            wanted.name,
            wanted.scopes,
            galleries=wanted.galleries,
            requests_per_second=wanted.requests_per_second,
            expires_at=wanted.expires_at,
        )

    def describe_all(self) -> list[KeyDescription]:
        return self._client.keys().keys

    def revoke(self, identity: str) -> None:
        self._client.revoke_key(identity)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise AskewError(
            f"Expected --expires as a date such as 2027-01-31, perhaps with a time, got {text!r}."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _summary(described: KeyDescription) -> str:
    parts = [", ".join(described.scopes)]
    if described.galleries is not None:
        parts.append(f"only {', '.join(described.galleries)}")
    if described.requests_per_second is not None:
        parts.append(f"{described.requests_per_second:g} requests a second")
    if described.expires_at is not None:
        parts.append(f"until {described.expires_at}")
    return "; ".join(parts)
