"""`askew gallery …` and `askew alias …`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.aliases import AliasAnswer
    from askew_client.contract.galleries import GalleryDescription, GalleryList
    from askew_server.gallery.catalog import Catalog

Data = Annotated[Path | None, typer.Option(help="The DATA directory; no server may be using it.")]
Server = Annotated[str | None, typer.Option(help="The URL of a running server, instead of --data.")]
AdminKey = Annotated[
    str | None, typer.Option("--key", envvar="ASKEW_KEY", help="With --server: a key with the scope admin.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
GalleryName = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's name.")]
AliasName = Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")]

gallery = typer.Typer(no_args_is_help=True, help="List, describe, create and delete galleries.")
alias = typer.Typer(no_args_is_help=True, help="Let a second name stand for a gallery, and switch it.")


class _Place(Protocol):
    """Where the galleries are: a server, or a DATA directory."""

    def describe_all(self) -> GalleryList: ...

    def described(self, name: str) -> GalleryDescription: ...

    def create(self, name: str, encoder: Path) -> GalleryDescription: ...

    def delete(self, name: str) -> None: ...

    def aliases(self) -> dict[str, str]: ...

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer: ...

    def delete_alias(self, alias: str) -> None: ...


@gallery.command(name="list")
def list_galleries(data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the galleries; a damaged one with what is wrong with it, on stderr."""
    with _place(data, server, key) as place:
        found = place.describe_all()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for each in found.galleries:
        typer.echo(f"{each.name}  ({_summary(each)})")
    for damaged in found.damaged:
        typer.echo(f"askew: gallery {damaged.name!r} is damaged: {damaged.reason}", err=True)
    if not found.galleries:
        typer.echo("There are no galleries.", err=True)


@gallery.command()
def describe(
    name: GalleryName, data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Say what a gallery holds, and who describes it."""
    with _place(data, server, key) as place:
        found = place.described(name)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for member, value in found.model_dump().items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{member.replace('_', ' ')}: {shown}")


@gallery.command()
def create(
    name: GalleryName,
    encoder: Annotated[Path, typer.Option(help="The file of the teacher that describes it.")],
    data: Data = None,
    server: Server = None,
    key: AdminKey = None,
) -> None:
    """Create an empty gallery in a teacher's space; it keeps the teacher's file, to describe photos with."""
    with _place(data, server, key) as place:
        made = place.create(name, encoder)
    typer.echo(f"Gallery {made.name!r}: {_summary(made)}.")


@gallery.command()
def delete(name: GalleryName, data: Data = None, server: Server = None, key: AdminKey = None) -> None:
    """Delete a gallery with all its items, photos and encoders. There is no way back but a snapshot."""
    with _place(data, server, key) as place:
        place.delete(name)
    typer.echo(f"Gallery {name!r} is deleted.")


@alias.command(name="list")
def list_aliases(data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the aliases, and the gallery that each one names."""
    with _place(data, server, key) as place:
        aliases = place.aliases()
    if as_json:
        import json

        typer.echo(json.dumps({"aliases": aliases}, indent=1))
        return
    for name, named in aliases.items():
        typer.echo(f"{name} -> {named}")
    if not aliases:
        typer.echo("There are no aliases.", err=True)


@alias.command(name="set")
def set_alias(
    name: AliasName, named: GalleryName, data: Data = None, server: Server = None, key: AdminKey = None
) -> None:
    """Let an alias name a gallery, from one search to the next."""
    with _place(data, server, key) as place:
        answer = place.set_alias(name, named)
    before = f"; before: {answer.previous!r}" if answer.previous else ""
    typer.echo(f"Alias {answer.alias!r} names gallery {answer.gallery!r}{before}.")


@alias.command(name="delete")
def delete_alias(name: AliasName, data: Data = None, server: Server = None, key: AdminKey = None) -> None:
    """Forget an alias. Its gallery stays."""
    with _place(data, server, key) as place:
        place.delete_alias(name)
    typer.echo(f"Alias {name!r} is deleted.")


@contextmanager
def _place(data: Path | None, server: str | None, key: str | None) -> Iterator[_Place]:
    """The galleries of a server, or of a DATA directory that is taken meanwhile. Raises AskewError, DataInUse."""
    if server is not None:
        from askew_client import Client

        with Client(server, timeout=60, key=key) as client:
            yield _Served(client)
        return
    if data is None:
        raise AskewError("Say where the galleries are: --data DIR (no server running on it), or --server URL.")
    from askew_server.gallery.catalog import Catalog

    galleries = Catalog(data, owner="askew gallery")
    try:
        galleries.load()
        yield _Local(galleries)
    finally:
        galleries.close()


class _Local:
    """The galleries of a DATA directory."""

    def __init__(self, galleries: Catalog) -> None:
        self._galleries = galleries

    def describe_all(self) -> GalleryList:
        from askew_client.contract.galleries import DamagedGallery, GalleryList

        damaged = [DamagedGallery(name=name, reason=reason) for name, reason in self._galleries.damaged().items()]
        found = [self.described(name) for name in self._galleries.names()]
        return GalleryList(galleries=found, default_gallery="default", damaged=damaged)

    def described(self, name: str) -> GalleryDescription:
        return self._galleries.describe(name)

    def create(self, name: str, encoder: Path) -> GalleryDescription:
        from askew_client.contract.encoder_file import parse_encoder_file
        from askew_client.encoding.encoder import Encoder

        Encoder(encoder, threads=1).check_golden()
        content = encoder.read_bytes()
        file = parse_encoder_file(content, str(encoder))
        owned, _ = self._galleries.get_or_create(_checked(name), file.manifest)
        owned.run(lambda each: each.keep_encoder(file, content, None))
        return self.described(owned.name)

    def delete(self, name: str) -> None:
        self._galleries.delete(name)

    def aliases(self) -> dict[str, str]:
        return self._galleries.aliases()

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer:
        return self._galleries.set_alias(_checked(alias), gallery)

    def delete_alias(self, alias: str) -> None:
        self._galleries.delete_alias(alias)


class _Served:
    """The galleries of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe_all(self) -> GalleryList:
        return self._client.galleries()

    def described(self, name: str) -> GalleryDescription:
        return self._client.gallery(_checked(name))

    def create(self, name: str, encoder: Path) -> GalleryDescription:
        return self._client.create_gallery(_checked(name), encoder)

    def delete(self, name: str) -> None:
        self._client.delete_gallery(_checked(name))

    def aliases(self) -> dict[str, str]:
        return self._client.aliases().aliases

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer:
        return self._client.set_alias(_checked(alias), _checked(gallery))

    def delete_alias(self, alias: str) -> None:
        self._client.delete_alias(_checked(alias))


def _checked(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.common import GalleryName

    try:
        return TypeAdapter(GalleryName).validate_python(name)
    except ValidationError:
        raise AskewError(
            f"Expected a name of lower-case letters, digits, - and _, at most 63, got {name[:80]!r}."
        ) from None


def _summary(described: GalleryDescription) -> str:
    aliases = f", aliases {', '.join(described.aliases)}" if described.aliases else ""
    return f"{described.items} items, {described.photos} photos, teacher {described.teacher}{aliases}"
