"""`askew key create`, `askew key list`, `askew key revoke`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.confirmation import confirm_deletion
from askew_server.cli.options import AdminKey, AsJson, Data, Server, Yes, check_name
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    from askew_client.contract.keys import CreatedKey, CreateKeyRequest, KeyDescription, KeyList, Scope

key = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

_ARGUMENTS = {"name": "NAME", "scopes": "--scope", "requests_per_second": "--requests-per-second"}
"""The command's name of each member of a request that can be refused."""


@key.command()
def create(
    name: Annotated[str, typer.Argument(help="A name by which people know the key.")],
    scope: Annotated[list[str], typer.Option(help="search, write (which includes search), or admin (everything).")],
    gallery: Annotated[
        list[str] | None, typer.Option(help="Limit the key to this gallery or alias. May be repeated.")
    ] = None,
    requests_per_second: Annotated[float | None, typer.Option(help="Requests that it may send each second.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it expires: 2027-01-31 or 2027-01-31T18:00; in UTC if no offset is given.")
    ] = None,
    data: Data = None,
    server: Server = None,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Only the key goes to stdout; it is stored nowhere and never shown again."""
    wanted = _request(name, scope, gallery, requests_per_second, expires)
    with _open(data, server, admin_key, makes_data=True) as keys:
        created = keys.create_key(
            wanted.name,
            wanted.scopes,
            galleries=wanted.galleries,
            requests_per_second=wanted.requests_per_second,
            expires_at=wanted.expires_at,
        )
    if as_json:
        typer.echo(created.model_dump_json(indent=1))
        return
    typer.echo(f"Key {created.id} ({_summary(created)}). This is the only time that it is shown:", err=True)
    typer.echo(created.key)


@key.command(name="list")
def list_keys(data: Data = None, server: Server = None, admin_key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the keys that were not revoked, without their secrets."""
    with _open(data, server, admin_key) as keys:
        listed = keys.keys()
    if as_json:
        typer.echo(listed.model_dump_json(indent=1))
        return
    for each in listed.keys:
        typer.echo(f"{each.id}  {each.name}  ({_summary(each)})")
    if not listed.keys:
        typer.echo("There are no keys.", err=True)


@key.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="The key's id: the part after `ask_`.")],
    data: Data = None,
    server: Server = None,
    admin_key: AdminKey = None,
    yes: Yes = False,
) -> None:
    """Revoke a key. It stops working with the next request."""
    with _open(data, server, admin_key) as keys:
        confirm_deletion(f"key {identity}; whoever uses it is locked out", yes=yes)
        keys.revoke_key(identity)
    typer.echo(f"Key {identity} is revoked.")


class _Keys(Protocol):
    """The keys of a server or of a DATA directory."""

    def create_key(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        galleries: Sequence[str] | None,
        requests_per_second: float | None,
        expires_at: datetime | None,
    ) -> CreatedKey: ...

    def keys(self) -> KeyList: ...

    def revoke_key(self, key_id: str) -> object: ...


def _open(
    data: Path | None, server: str | None, key: str | None, *, makes_data: bool = False
) -> AbstractContextManager[_Keys]:
    return open_target(
        data,
        server,
        key,
        command="askew key",
        served=lambda client: client,
        local=_LocalKeys,
        opens_galleries=False,
        makes_data=makes_data,
    )


class _LocalKeys:
    """The keys of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        from askew_server.auth.keys import KeyStore

        self._store = owned.closing.enter_context(closing(KeyStore(owned.folder)))

    def create_key(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        galleries: Sequence[str] | None,
        requests_per_second: float | None,
        expires_at: datetime | None,
    ) -> CreatedKey:
        from askew_client.contract.keys import CreateKeyRequest

        return self._store.create(
            CreateKeyRequest(
                name=name,
                scopes=list(scopes),
                galleries=None if galleries is None else list(galleries),
                requests_per_second=requests_per_second,
                expires_at=expires_at,
            )
        )

    def keys(self) -> KeyList:
        from askew_client.contract.keys import KeyList

        return KeyList(keys=self._store.describe_all())

    def revoke_key(self, key_id: str) -> None:
        self._store.revoke(key_id)


def _request(
    name: str,
    scopes: list[str],
    galleries: list[str] | None,
    requests_per_second: float | None,
    expires: str | None,
) -> CreateKeyRequest:
    """What the options ask for. Raises AskewError with the name of the one that is not valid."""
    from pydantic import ValidationError

    from askew_client.contract.keys import CreateKeyRequest
    from askew_client.wording import expectation

    given = {
        "name": name,
        "scopes": scopes,
        "galleries": [check_name(each) for each in galleries or []] or None,
        "requests_per_second": requests_per_second,
        "expires_at": None if expires is None else _moment(expires),
    }
    try:
        return CreateKeyRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        member = str(first["loc"][0])
        argument = _ARGUMENTS.get(member, member)
        raise AskewError(f"{argument}: expected {expectation(error)}, got {str(first['input'])[:80]!r}.") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise AskewError(
            f"Expected --expires as a date such as 2027-01-31, optionally with a time, got {text[:80]!r}."
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
