"""Options that name a place in Milvus, and `askew gallery migrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import Data, GalleryArgument, check_name
from askew_server.cli.target import OwnedData, open_target
from askew_server.cli.terminal import show_progress

if TYPE_CHECKING:
    from askew_server.maintenance.milvus_migration import MigrationResult, Refused
    from askew_server.milvus.place import MilvusPlace

EXIT_REFUSED = 1
_SHOWN = 20
"""Ids of a reason that are shown; --refused writes all."""

Collection = Annotated[str | None, typer.Option(help="The collection's name; by default askew_ and the gallery's.")]
IndexType = Annotated[str, typer.Option(help="Milvus's index of the vectors, such as FLAT, HNSW or GPU_CAGRA.")]
IndexParameters = Annotated[str, typer.Option(help='Its parameters as JSON, such as {"M": 32, "efConstruction": 400}.')]
SearchParameters = Annotated[str, typer.Option(help='The parameters of a search as JSON, such as {"ef": 200}.')]
Shards = Annotated[int, typer.Option(min=1, max=64, help="Shards of the collection.")]
Replicas = Annotated[int, typer.Option(min=1, max=64, help="Replicas of the collection in memory.")]


def migrate(
    name: GalleryArgument,
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="The Milvus, such as milvus://milvus.example:19530.")],
    into: Annotated[str | None, typer.Option(help="The new gallery's name; by default GALLERY-milvus.")] = None,
    collection: Collection = None,
    index_type: IndexType = "FLAT",
    index_parameters: IndexParameters = "{}",
    search_parameters: SearchParameters = "{}",
    shards: Shards = 1,
    replicas: Replicas = 1,
    recall: Annotated[
        float,
        typer.Option(min=0, max=1, help="With an approximate index: the least share of exact answers it must find."),
    ] = 0.95,
    undo: Annotated[bool, typer.Option("--undo", help="Drop what an unfinished migration made.")] = False,
    refused: Annotated[
        Path | None,
        typer.Option(help="Write the ids that Milvus cannot hold, with the reasons, to this file (JSON lines)."),
    ] = None,
    data: Data = None,
) -> None:
    """Move a gallery's items to Milvus: into a new gallery beside it, to which its aliases are switched.

    The old gallery is kept. No server may be using DATA. What was cut off goes on when it is run again.
    """
    target = check_name(into or f"{name}-milvus")
    place = place_of(
        to, collection or collection_name(target), index_type, index_parameters, search_parameters, shards, replicas
    )
    with open_target(
        data, None, None, command="askew gallery migrate", served=_no_server, local=lambda owned: owned
    ) as owned:
        from askew_server.maintenance.milvus_migration import Migration

        migration = Migration(owned.catalog, owned.folder, name, target, place)
        if undo:
            typer.echo(migration.undo())
            return
        with show_progress("Migrating", "items") as advance:
            result = migration.run(lambda _, done, total: advance(done, total), recall)
    if result.refused.items:
        _tell_refused(result.refused, refused)
        raise typer.Exit(EXIT_REFUSED)
    _tell_result(name, result, place)


def place_of(
    address: str,
    collection: str,
    index_type: str,
    index_parameters: str,
    search_parameters: str,
    shards: int,
    replicas: int,
) -> MilvusPlace:
    """The place in Milvus that options name. Raises AskewError."""
    from askew_server.milvus.library import require_pymilvus
    from askew_server.milvus.place import MilvusPlace

    require_pymilvus()
    return MilvusPlace.of(
        address,
        collection,
        index_type=index_type,
        index_parameters=_parsed(index_parameters, "--index-parameters"),
        search_parameters=_parsed(search_parameters, "--search-parameters"),
        shards=shards,
        replicas=replicas,
    )


def collection_name(gallery: str) -> str:
    """The collection of a gallery unless another one is named. Milvus allows no hyphens."""
    return f"askew_{gallery.replace('-', '_')}"


def _parsed(text: str, option: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise AskewError(f"Expected {option} as a JSON object, got {text[:200]!r}.") from None


def _no_server(_: object) -> OwnedData:
    raise AskewError("Expected --data DIR: a gallery is moved while no server uses its DATA. Stop the server first.")


def _tell_result(name: str, result: MigrationResult, place: MilvusPlace) -> None:
    typer.echo(f"Gallery {result.gallery!r} has {result.items} items in {place} ({result.written} written now).")
    if result.comparison is not None:
        share = (
            f"{result.comparison.recall_at_10:.1%} of the ten nearest items of {result.comparison.queries} sampled ones"
        )
        typer.echo(f"Compared with exact answers: {share} are found.")
    for alias in result.aliases:
        typer.echo(f"Alias {alias!r} names gallery {result.gallery!r} now.")
    if not result.aliases:
        typer.echo(
            f"No alias names gallery {name!r}: clients that use that name still search the old gallery. Serve the new one with "
            f"--gallery {result.gallery}, or let an alias name it (askew alias set)."
        )
    typer.echo(f"The old gallery {name!r} is kept; delete it when you are sure (askew gallery delete {name}).")


def _tell_refused(refused: Refused, path: Path | None) -> None:
    for reason, items in refused.items.items():
        typer.echo(f"askew: {len(items):,} items have {reason}, which Milvus cannot hold:", err=True)
        for item_id, detail in items[:_SHOWN]:
            typer.echo(f"  {item_id}{f' ({detail})' if detail else ''}", err=True)
        if len(items) > _SHOWN:
            typer.echo(f"  and {len(items) - _SHOWN:,} more", err=True)
    typer.echo("askew: Nothing was migrated. Change or delete these items, and run the command again.", err=True)
    if path is not None:
        lines = [
            json.dumps({"id": item_id, "reason": reason, "detail": detail})
            for reason, items in refused.items.items()
            for item_id, detail in items
        ]
        path.write_text("\n".join(lines) + "\n")
        typer.echo(f"askew: Their ids are in {path}.", err=True)
