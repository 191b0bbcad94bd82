"""`askew index --shard`: a part of a folder into a Parquet file. Heavy modules are imported when the command runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from askew_client.cli.taken import EXIT_INCOMPLETE, Intake
from askew_client.errors import AskewError
from askew_server.cli.terminal import show_progress

if TYPE_CHECKING:
    from askew_server.ingest.photo_folder import FoundPhotos


class PicturesInShard(StrEnum):
    """What travels beside the vectors."""

    copies = "copies"
    originals = "originals"
    none = "none"


def refuse_with_shard(**given: object) -> None:
    """Raise AskewError for options that mean a gallery: a shard goes into a file."""
    named = [f"--{name}" for name, value in given.items() if value]
    if named:
        raise AskewError(
            f"A shard is written to a file, without a gallery, so leave {', '.join(named)} out. `askew items import` stores the "
            "file in a gallery afterwards."
        )


def describe_shard(
    photos: Path,
    encoder: Path,
    shard: str | None,
    out: Path | None,
    pictures: PicturesInShard | None,
    payloads: Path | None,
    types: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Describe a shard, and print what became of its files. Raises AskewError, OSError."""
    from askew_server.ingest.index_shard import ShardWork, index_shard
    from askew_server.ingest.shards import Shard

    if shard is None or out is None:
        raise AskewError(
            "Expected both --shard I/N and --out FILE.parquet, got one of the two or neither. For example: --shard 3/8 --out "
            "shard-3.parquet"
        )
    work = ShardWork(
        photos, encoder, Shard.parse(shard), out, (pictures or PicturesInShard.copies).value, payloads, types
    )
    counted: list[FoundPhotos] = []
    try:
        with show_progress("Describing", "photos") as advance:
            index_shard(work, progress=advance, found=counted.append)
    except BaseException:
        for found in counted:
            _print_reasons(found)
            typer.echo(f"askew: so far, shard {work.shard}: {found.files.summary()}. Run it again to go on.", err=True)
        raise
    found = counted[0]
    _print_reasons(found)
    _print_summary(found, work.shard, out, as_json=as_json)
    if any(each.exit_code for each in _intakes(found)):
        raise typer.Exit(EXIT_INCOMPLETE)


def _print_summary(found: FoundPhotos, shard: object, out: Path, *, as_json: bool) -> None:
    rows = found.files.taken + found.files.known
    if not as_json:
        typer.echo(f"Shard {shard}: {found.files.summary()}. {out} holds {rows:,} items.")
        return
    lines = found.lines
    summary = {**found.files.as_json(), "shard": str(shard), "items": rows, "other_kinds": dict(found.walk.other_kinds)}
    if lines is not None:
        summary |= {"lines": lines.lines.as_json(), "fields": lines.fields.as_json(), "payload_types": lines.types}
    typer.echo(json.dumps(summary, indent=1))


def _intakes(found: FoundPhotos) -> list[Intake]:
    return [found.files, *([] if found.lines is None else [found.lines.lines, found.lines.fields])]


def _print_reasons(found: FoundPhotos) -> None:
    for each in _intakes(found):
        each.print_reasons()
