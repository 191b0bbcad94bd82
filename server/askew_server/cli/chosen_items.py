"""`askew items count` and `askew items delete`: of items that are chosen by their ids or by a filter."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from askew_client.cli.taken import Intake
from askew_client.cli.warning_lines import warn_of_unknown_fields
from askew_client.errors import AskewError
from askew_server.cli.confirmation import confirm_deletion
from askew_server.cli.options import AsJson, Data, FilterOption, GalleryOption, Key, Server, WriteKey, Yes, parse_filter
from askew_server.cli.target import OwnedData, open_target

if TYPE_CHECKING:
    from askew_client import Client
    from askew_client.contract.filters.conditions import Filter
    from askew_client.contract.items import CountItemsAnswer, DeleteItemsAnswer
    from askew_server.gallery.gallery import Gallery


def count_items(
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    condition: FilterOption = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print the number of items in a gallery, or of those that meet a condition."""
    wanted = None if condition is None else parse_filter(condition)
    with _open_to_count(data, server, key) as items:
        found = items.count(gallery, None, wanted)
    warn_of_unknown_fields(found.unknown_fields)
    typer.echo(found.model_dump_json() if as_json else found.count)


def delete_items(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="The ids of the items to delete; or --filter.")
    ] = None,
    data: Data = None,
    server: Server = None,
    gallery: GalleryOption = "default",
    condition: FilterOption = None,
    yes: Yes = False,
    key: WriteKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete items and their photos: those of some ids, or all that meet a condition. Only a snapshot brings them back.

    Exit code 3: no item has some of the ids; the items of the others are deleted.
    """
    if bool(ids) == (condition is not None):
        raise AskewError(
            f"Expected the ids of items, or a condition with --filter, got {'both' if ids else 'neither'}. Nothing was "
            "deleted."
        )
    wanted = None if condition is None else parse_filter(condition)
    intake = Intake("items")
    try:
        with _open_to_delete(data, server, key) as items:
            if wanted is None:
                _delete_by_ids(items, gallery, ids or [], intake, yes=yes)
                unknown_fields: list[str] = []
            else:
                unknown_fields = _delete_by_filter(items, gallery, wanted, intake, yes=yes)
    except BaseException:
        if intake.taken:
            typer.echo(f"askew: so far, gallery {gallery!r}: {_items(intake.taken)} deleted.", err=True)
        raise
    intake.print_reasons()
    if as_json:
        unknown = {"unknown_fields": unknown_fields} if unknown_fields else {}
        typer.echo(json.dumps({"deleted": intake.taken, **intake.as_json(), **unknown}))
    else:
        unmatched = intake.count("unmatched")
        others = f", {unmatched:,} of the ids not found" if unmatched else ""
        typer.echo(f"Gallery {gallery!r}: {_items(intake.taken)} deleted{others}.")
    if intake.exit_code:
        raise typer.Exit(intake.exit_code)


def _delete_by_ids(items: _Items, gallery: str, ids: Sequence[str], intake: Intake, *, yes: bool) -> None:
    from askew_client.calls.batches import id_batches

    # A server refuses a whole request for a text that cannot be an id. No item has it, so it is not sent.
    possible = [each for each in ids if _can_be_an_id(each)]
    unknown = set(ids) - set(possible)
    if not yes or not possible:
        # Without an id to ask for, this still says whether there is such a gallery.
        found = items.count(gallery, possible or None, None).count
        _confirm(found if possible else 0, gallery, yes=yes)
    for batch in id_batches(possible) if possible else ():
        answer = items.delete(gallery, batch, None)
        intake.taken += answer.deleted
        unknown.update(answer.unknown_ids)
    for each in dict.fromkeys(ids):
        if each in unknown:
            intake.not_matched(each, "no item has this id")


def _delete_by_filter(items: _Items, gallery: str, wanted: Filter, intake: Intake, *, yes: bool) -> list[str]:
    """Returns the filter's fields that no item had."""
    told: list[str] = []
    if not yes:
        found = items.count(gallery, None, wanted)
        told = found.unknown_fields
        warn_of_unknown_fields(told)
        _confirm(found.count, gallery, yes=yes)
    answer = items.delete(gallery, None, wanted)
    intake.taken += answer.deleted
    if answer.unknown_fields != told:
        warn_of_unknown_fields(answer.unknown_fields)
    return answer.unknown_fields


def _confirm(count: int, gallery: str, *, yes: bool) -> None:
    # Nothing to lose is nothing to ask about; a script without --yes fails on every day alike.
    if count or not sys.stdin.isatty():
        confirm_deletion(f"{_items(count)} of gallery {gallery!r}", yes=yes)


def _items(count: int) -> str:
    return f"{count:,} item{'' if count == 1 else 's'}"


def _can_be_an_id(text: str) -> bool:
    from pydantic import TypeAdapter, ValidationError

    from askew_client.contract.common import ItemId

    try:
        TypeAdapter(ItemId).validate_python(text)
    except ValidationError:
        return False
    return True


class _Counts(Protocol):
    """The items of a server or of a DATA directory, to be counted."""

    def count(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> CountItemsAnswer:
        """How many items have these ids or meet a condition, or all; not both."""


class _Items(_Counts, Protocol):
    """The items of a server or of a DATA directory, to be counted and deleted."""

    def delete(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> DeleteItemsAnswer:
        """Delete the items that have these ids, or meet a condition: one of both."""


def _open_to_count(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Counts]:
    return open_target(
        data,
        server,
        key,
        command="askew items",
        served=_ServedItems,
        local=_StoredItems,
        opens_galleries=False,
    )


def _open_to_delete(data: Path | None, server: str | None, key: str | None) -> AbstractContextManager[_Items]:
    return open_target(data, server, key, command="askew items", served=_ServedItems, local=_OpenItems)


class _ServedItems:
    """The items of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def count(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> CountItemsAnswer:
        condition = None if wanted is None else wanted.model_dump(by_alias=True)
        return self._client.count_items(ids, gallery=gallery, filter=condition)

    def delete(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> DeleteItemsAnswer:
        condition = None if wanted is None else wanted.model_dump(by_alias=True)
        return self._client.delete_items(ids, gallery=gallery, filter=condition)


class _StoredItems:
    """The items of a DATA directory, read from its databases without opening a gallery."""

    def __init__(self, owned: OwnedData) -> None:
        self._owned = owned

    def count(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> CountItemsAnswer:
        from askew_server.gallery.items import count_items
        from askew_server.storage.facts import require_items_here
        from askew_server.storage.filtering.filters import PayloadFilter
        from askew_server.storage.reader import GalleryReader

        folder = self._owned.gallery_folder(gallery)
        require_items_here(folder, gallery, "A count without a server", "Start the server and use --server URL.")
        reader = GalleryReader.open(folder)
        self._owned.closing.callback(reader.close)
        return count_items(reader, PayloadFilter(reader), ids, wanted)


class _OpenItems(_StoredItems):
    """The items of a DATA directory's galleries, which keep their indexes in step with what is deleted."""

    def delete(self, gallery: str, ids: Sequence[str] | None, wanted: Filter | None) -> DeleteItemsAnswer:
        return self._owned.catalog.get(gallery).run(lambda each: _delete(each, ids, wanted))


def _delete(gallery: Gallery, ids: Sequence[str] | None, wanted: Filter | None) -> DeleteItemsAnswer:
    from askew_client.contract.items import DeleteItemsAnswer

    if wanted is None:
        change, unknown_ids = gallery.delete_items(ids or [])
        return DeleteItemsAnswer(deleted=len(change.removed), sequence=change.sequence, unknown_ids=unknown_ids)
    change, unknown_fields = gallery.delete_selected(gallery.store.own_filter().select(wanted))
    return DeleteItemsAnswer(deleted=len(change.removed), sequence=change.sequence, unknown_fields=unknown_fields)
