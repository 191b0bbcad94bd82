"""The commands of askew-client: inspect and check an encoder file, describe photos, search."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.warning_lines import warn_of_unknown_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from askew_client.contract.search import Hit, SearchAnswer

EncoderFileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="An encoder file (.onnx).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def inspect(file: EncoderFileArgument, as_json: AsJson = False) -> None:
    """Verify an encoder file's digest and print its manifest. Needs no onnxruntime."""
    from askew_client.contract.encoder_file import read_encoder_file

    found = read_encoder_file(file)
    around = {"sha256": found.sha256, "size": found.size, "opset": found.opset}
    manifest = found.manifest.model_dump(mode="json", exclude_none=True)
    if as_json:
        typer.echo(json.dumps({**around, "manifest": manifest}, indent=1, ensure_ascii=False))
        return
    golden = {name: f"{text[:12]}…" for name, text in found.manifest.golden.items()}
    _print_fields({"file": str(file), **around, **manifest, "golden": golden})


def check(file: EncoderFileArgument, as_json: AsJson = False) -> None:
    """Verify an encoder file's digest and its golden vectors on this machine. Exit code 1 if one does not match."""
    from askew_client.encoding.encoder import Encoder

    encoder = Encoder(file)
    distances = encoder.golden_distances()
    tolerance = encoder.manifest.tolerance
    agrees = all(distance <= tolerance for distance in distances.values())
    if as_json:
        report = {"sha256": encoder.file.sha256, "distances": distances, "tolerance": tolerance, "agrees": agrees}
        typer.echo(json.dumps(report, indent=1))
    else:
        typer.echo(f"{encoder.manifest.encoder_id}: the digest matches ({encoder.file.sha256[:12]}…).")
        for name, distance in distances.items():
            verdict = "agrees" if distance <= tolerance else "DIFFERS"
            typer.echo(f"  {name:<8} cosine distance {distance:.1e}, at most {tolerance:.0e}: {verdict}")
        typer.echo(
            "This machine agrees." if agrees else "This machine does not compute the vectors that the file records."
        )
    if not agrees:
        raise typer.Exit(1)


def encode(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="JPEG, PNG or WebP files.")],
    encoder: Annotated[Path, typer.Option(help="The encoder file.")],
    out: Annotated[Path | None, typer.Option(help="Write the vectors to this .npy file, as float32 [n, D].")] = None,
    as_json: AsJson = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the vectors to stdout as f16le bytes, the body of POST /search.")
    ] = False,
) -> None:
    """Describe photos. Choose the output with --out FILE, --json or --raw."""
    from askew_client.contract.wire import pack
    from askew_client.encoding.encoder import Encoder

    if (out is not None) + as_json + raw != 1:
        raise typer.BadParameter("expected exactly one of --out, --json and --raw")
    opened = Encoder(encoder)
    vectors = opened.encode(photos)
    if out is not None:
        _write_npy(out, vectors)
        typer.echo(f"{len(vectors)} vectors of {opened.manifest.dim} dimensions in {out}, space {opened.space_id}.")
    elif raw:
        sys.stdout.buffer.write(pack(vectors))
        sys.stdout.buffer.flush()
    else:
        named = [
            {"photo": str(photo), "vector": vector.tolist()} for photo, vector in zip(photos, vectors, strict=True)
        ]
        origin = {"encoder": opened.manifest.encoder_id, "space": opened.space_id}
        typer.echo(json.dumps({**origin, "vectors": named}))


def search(
    photo: Annotated[Path, typer.Argument(help="A JPEG, PNG or WebP file.")],
    encoder: Annotated[
        Path | None, typer.Option(help="The encoder file. Without it, the photo itself is sent.")
    ] = None,
    server: Annotated[str, typer.Option(help="The server's URL.", envvar="ASKEW_SERVER")] = "http://127.0.0.1:8000",
    gallery: Annotated[str | None, typer.Option(help="The gallery. Without it, the server's default gallery.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of hits.")] = 10,
    key: Annotated[str | None, typer.Option(help="An API key.", envvar="ASKEW_KEY")] = None,
    as_json: AsJson = False,
) -> None:
    """Search a gallery with a photo. With --encoder, this machine describes the photo and sends only its vector."""
    from askew_client._sync.client import Client
    from askew_client.contract.wire import pack
    from askew_client.encoding.encoder import Encoder

    opened = Encoder(encoder) if encoder else None
    with Client(server, key=key) as client:
        start = time.perf_counter()
        if opened is None:
            described, sent = start, photo.stat().st_size
            answer = client.search_photo(photo, gallery=gallery, limit=limit)
        else:
            vector = opened.encode(photo)[0]
            described, sent = time.perf_counter(), len(pack(vector))
            origin = opened.manifest.encoder_id
            answer = client.search(vector, space=opened.space_id, encoder=origin, gallery=gallery, limit=limit)
        answered = time.perf_counter()
    warn_of_unknown_fields(answer.unknown_fields)
    if as_json:
        typer.echo(answer.model_dump_json(indent=1))
        return
    _print_hits(answer)
    described_in = f"described in {1000 * (described - start):.0f} ms, " if opened else ""
    typer.echo(
        f"{described_in}searched in {1000 * (answered - described):.0f} ms, sent {sent:,} bytes; "
        f"the photo has {photo.stat().st_size:,}."
    )


def _print_hits(answer: SearchAnswer) -> None:
    from rich.console import Console
    from rich.table import Table

    if not answer.hits:
        typer.echo(f"No hits in gallery {answer.gallery!r}.")
        return
    table = Table("rank", "id", "score", "title", box=None)
    for rank, hit in enumerate(answer.hits, start=1):
        table.add_row(str(rank), _plain(hit.id), f"{hit.score:.4f}", _plain(_title(hit)))
    Console().print(table)


def _title(hit: Hit) -> str:
    title = hit.payload.get("title", "")
    return title if isinstance(title, str) else json.dumps(title)


def _plain(text: str) -> str:
    """Text from a server, safe for a terminal: without control characters and markup."""
    from rich.markup import escape

    return escape("".join(character for character in text if character.isprintable()))


def _print_fields(fields: dict[str, object]) -> None:
    width = max(map(len, fields))
    for name, value in fields.items():
        lines: Sequence[object] = [value]
        if isinstance(value, dict):
            lines = [f"{key}: {each}" for key, each in value.items()] or ["-"]
        elif isinstance(value, list):
            lines = [_one_line(each) for each in value] or ["-"]
        for position, line in enumerate(lines):
            typer.echo(f"{name if position == 0 else '':<{width}}  {line}")


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {each}" for key, each in value.items())
    return str(value)


def _write_npy(path: Path, vectors: NDArray[np.float32]) -> None:
    import io

    import numpy as np

    from askew_client.files import write_atomically

    buffer = io.BytesIO()
    np.save(buffer, vectors)
    write_atomically(path, buffer.getvalue())
