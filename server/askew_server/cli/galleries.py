"""`askew gallery …` and `askew alias …`: on a running server, or in a DATA directory without one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.errors import AskewError
from askew_server.cli.compact import compact
from askew_server.cli.confirmation import confirm_deletion
from askew_server.cli.filling.teacher_change import change_teacher
from askew_server.cli.milvus import (
    Collection,
    IndexParameters,
    IndexType,
    Replicas,
    SearchParameters,
    Shards,
    collection_name,
    migrate,
    place_of,
)
from askew_server.cli.offline_packs import pack
from askew_server.cli.options import AdminKey, AliasArgument, AsJson, Data, GalleryArgument, Server, Yes, check_name
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    from askew_client.contract.galleries import AliasAnswer, AliasList, GalleryDescription, GalleryList
    from askew_server.milvus.place import MilvusPlace

gallery = typer.Typer(
    no_args_is_help=True, help="List, describe, create and delete galleries; let one leave as an offline pack."
)
gallery.command()(change_teacher)
gallery.command()(pack)
gallery.command()(migrate)
gallery.command()(compact)
alias = typer.Typer(no_args_is_help=True, help="Give a gallery a second name, and switch that name to another gallery.")


@gallery.command(name="list")
def list_galleries(data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the galleries. Damaged ones are reported on stderr."""
    with _open(data, server, key) as galleries:
        found = galleries.galleries()
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
    name: GalleryArgument, data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False
) -> None:
    """Show what a gallery holds and which teacher describes it."""
    with _open(data, server, key) as galleries:
        found = galleries.gallery(_known_name(name, server))
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for member, value in found.model_dump().items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{member.replace('_', ' ')}: {shown}")


@gallery.command()
def create(
    name: GalleryArgument,
    encoder: Annotated[Path, typer.Option(help="The file of the teacher that describes it.")],
    data: Data = None,
    server: Server = None,
    key: AdminKey = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Keep its items in this Milvus, such as milvus://milvus.example:19530; with --data alone. A collection that "
            "is there already is used.",
        ),
    ] = None,
    collection: Collection = None,
    index_type: IndexType = "FLAT",
    index_parameters: IndexParameters = "{}",
    search_parameters: SearchParameters = "{}",
    shards: Shards = 1,
    replicas: Replicas = 1,
) -> None:
    """Create an empty gallery in a teacher's space. It keeps the teacher's file, to describe photos with."""
    check_name(name)
    place = None
    if backend is not None:
        called = collection or collection_name(name)
        place = place_of(backend, called, index_type, index_parameters, search_parameters, shards, replicas)
    with _open(data, server, key, makes_data=True) as galleries:
        if place is None:
            created = galleries.create_gallery(name, encoder)
        elif isinstance(galleries, _LocalGalleries):
            created = galleries.create_in_milvus(name, encoder, place)
        else:
            raise AskewError(
                "Expected --data DIR with --backend: a running server makes galleries on its own disk alone."
            )
    typer.echo(f"Gallery {created.name!r}: {_summary(created)}.")


@gallery.command()
def delete(
    name: GalleryArgument, data: Data = None, server: Server = None, key: AdminKey = None, yes: Yes = False
) -> None:
    """Delete a gallery with its items, photos, encoders and snapshots. Only a downloaded snapshot can bring it back."""
    with _open(data, server, key) as galleries:
        known = _known_name(name, server)
        confirm_deletion(f"gallery {name!r} with its items, photos, encoders and snapshots", yes=yes)
        galleries.delete_gallery(known)
    typer.echo(f"Gallery {name!r} is deleted.")


@alias.command(name="list")
def list_aliases(data: Data = None, server: Server = None, key: AdminKey = None, as_json: AsJson = False) -> None:
    """List the aliases and the gallery that each one names."""
    with _open(data, server, key) as galleries:
        found = galleries.aliases()
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for name, named in found.aliases.items():
        typer.echo(f"{name} -> {named}")
    if not found.aliases:
        typer.echo("There are no aliases.", err=True)


@alias.command(name="set")
def set_alias(
    name: AliasArgument, named: GalleryArgument, data: Data = None, server: Server = None, key: AdminKey = None
) -> None:
    """Make an alias name a gallery. The next search through the alias searches that gallery."""
    check_name(name)
    with _open(data, server, key) as galleries:
        answer = galleries.set_alias(name, _known_name(named, server))
    before = f"; before: {answer.previous!r}" if answer.previous else ""
    typer.echo(f"Alias {answer.alias!r} names gallery {answer.gallery!r}{before}.")


@alias.command(name="delete")
def delete_alias(name: AliasArgument, data: Data = None, server: Server = None, key: AdminKey = None) -> None:
    """Delete an alias. Its gallery stays."""
    with _open(data, server, key) as galleries:
        galleries.delete_alias(_known_name(name, server))
    typer.echo(f"Alias {name!r} is deleted.")


class _Galleries(Protocol):
    """The galleries of a server or of a DATA directory."""

    def galleries(self) -> GalleryList: ...

    def gallery(self, name: str) -> GalleryDescription: ...

    def create_gallery(self, name: str, teacher: Path) -> GalleryDescription: ...

    def delete_gallery(self, name: str) -> object: ...

    def aliases(self) -> AliasList: ...

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer: ...

    def delete_alias(self, alias: str) -> object: ...


def _open(
    data: Path | None, server: str | None, key: str | None, *, makes_data: bool = False
) -> AbstractContextManager[_Galleries]:
    return open_target(
        data,
        server,
        key,
        command="askew gallery",
        served=lambda client: client,
        local=_LocalGalleries,
        makes_data=makes_data,
        timeout=60,
    )


class _LocalGalleries:
    """The galleries of a DATA directory."""

    def __init__(self, owned: OwnedData) -> None:
        self._owned = owned
        self._catalog = owned.catalog

    def galleries(self) -> GalleryList:
        from askew_client.contract.galleries import DamagedGallery, GalleryList
        from askew_server.settings import read_settings

        outages = self._catalog.outages()
        not_served = {**outages, **self._catalog.damaged()}
        return GalleryList(
            galleries=[self.gallery(name) for name in self._catalog.names() if name not in outages],
            default_gallery=read_settings({}).default_gallery,
            damaged=[DamagedGallery(name=name, reason=reason) for name, reason in not_served.items()],
        )

    def gallery(self, name: str) -> GalleryDescription:
        return self._catalog.describe(name)

    def create_gallery(self, name: str, teacher: Path) -> GalleryDescription:
        from askew_client.encoding.encoder import Encoder

        Encoder(teacher, threads=1).check_golden()
        return self.gallery(self._owned.create_gallery(name, teacher).name)

    def create_in_milvus(self, name: str, teacher: Path, place: MilvusPlace) -> GalleryDescription:
        """Create a gallery whose items are in Milvus, in a new collection or in one of the same space."""
        from askew_client.encoding.encoder import Encoder

        Encoder(teacher, threads=1).check_golden()
        return self.gallery(self._owned.create_gallery(name, teacher, place).name)

    def delete_gallery(self, name: str) -> None:
        self._catalog.delete(name)

    def aliases(self) -> AliasList:
        from askew_client.contract.galleries import AliasList

        return AliasList(aliases=self._catalog.aliases())

    def set_alias(self, alias: str, gallery: str) -> AliasAnswer:
        return self._catalog.set_alias(alias, gallery)

    def delete_alias(self, alias: str) -> None:
        self._catalog.delete_alias(alias)


def _known_name(name: str, server: str | None) -> str:
    """A name of what exists. A server knows only valid ones; a folder in a DATA directory may have any name."""
    return name if server is None else check_name(name)


def _summary(described: GalleryDescription) -> str:
    aliases = f", aliases {', '.join(described.aliases)}" if described.aliases else ""
    return f"{described.items} items, {described.photos} photos, teacher {described.teacher}{aliases}"
