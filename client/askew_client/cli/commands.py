"""The commands of askew-client: inspect and check an encoder file, describe photos, search."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.warning_lines import warn_of_unknown_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

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


@stopped_by_sigterm()
def encode(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="JPEG, PNG, WebP, HEIC or AVIF files.")],
    encoder: Annotated[Path, typer.Option(help="The encoder file.")],
    out: Annotated[Path | None, typer.Option(help="Write the vectors to this .npy file, as float32 [n, D].")] = None,
    as_json: AsJson = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the vectors to stdout as f16le bytes, the body of POST /search.")
    ] = False,
) -> None:
    """Describe photos. Choose the output with --out FILE, --json or --raw. Photos that cannot be described are skipped."""
    import numpy as np

    from askew_client.cli.taken import Intake, reason_of
    from askew_client.contract.errors import PhotoError
    from askew_client.contract.wire import pack
    from askew_client.encoding.encoder import Encoder

    if (out is not None) + as_json + raw != 1:
        raise typer.BadParameter("expected exactly one of --out, --json and --raw")
    if out is not None:
        _check_out(out, [*photos, encoder])
    opened = Encoder(encoder)
    intake = Intake()
    described: list[Path] = []
    rows: list[NDArray[np.float32]] = []
    error: PhotoError | None = None
    for photo, result in zip(photos, opened.encode_stream(photos, workers=1), strict=True):
        if isinstance(result, PhotoError):
            error = result
            intake.skip(str(photo), reason_of(result), str(result))
        else:
            described.append(photo)
            rows.append(result)
    if error is not None and len(photos) == 1:
        raise error
    intake.taken = len(described)
    vectors = np.stack(rows) if rows else np.empty((0, opened.manifest.dim), np.float32)
    intake.print_reasons()
    if error is not None and not rows:
        raise PhotoError(f"None of {len(photos)} photos can be described.")
    if out is not None:
        _write_npy(out, vectors)
        typer.echo(f"{len(vectors)} vectors of {opened.manifest.dim} dimensions in {out}, space {opened.space_id}.")
    elif raw:
        sys.stdout.buffer.write(pack(vectors))
        sys.stdout.buffer.flush()
    else:
        named = [
            {"photo": str(photo), "vector": vector.tolist()} for photo, vector in zip(described, vectors, strict=True)
        ]
        origin = {"encoder": opened.manifest.encoder_id, "space": opened.space_id}
        typer.echo(json.dumps({**origin, "vectors": named, **intake.as_json()}))
    if intake.exit_code:
        raise typer.Exit(intake.exit_code)


def search(
    photo: Annotated[Path, typer.Argument(help="A JPEG, PNG, WebP, HEIC or AVIF file.")],
    encoder: Annotated[
        Path | None, typer.Option(help="The encoder file. Without it, the photo itself is sent.")
    ] = None,
    server: Annotated[str, typer.Option(help="The server's URL.", envvar="ASKEW_SERVER")] = "http://127.0.0.1:8000",
    gallery: Annotated[str | None, typer.Option(help="The gallery. Without it, the server's default gallery.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of hits, or of groups.")] = 10,
    max_false_match: Annotated[
        float | None,
        typer.Option(
            help="Leave out what is probably wrong: at most this share of photos without a match get a hit, as 0.01."
        ),
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Leave out hits with a lower score than this.")
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="JSON", help='A condition on payloads, as {"field": "kind", "eq": "landmark"}.'
        ),
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="A payload field: show the best hits for each of its values.")
    ] = None,
    group_size: Annotated[int, typer.Option(min=1, max=100, help="With --group-by: the hits for each value.")] = 1,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector, however long it takes.")] = False,
    key: Annotated[str | None, typer.Option(help="An API key.", envvar="ASKEW_KEY")] = None,
    as_json: AsJson = False,
) -> None:
    """Search a gallery with a photo. With --encoder, this machine describes the photo and sends only its vector."""
    from askew_client._sync.client import Client
    from askew_client.calls.search import SearchParams
    from askew_client.cli.hits import filter_of, print_hits, print_notes
    from askew_client.contract.wire import pack
    from askew_client.encoding.encoder import Encoder

    if max_false_match is not None and score_threshold is not None:
        raise typer.BadParameter("expected one of --max-false-match and --score-threshold, got both")
    if max_false_match is not None and not 0 < max_false_match < 1:
        raise typer.BadParameter(
            f"expected a share between 0 and 1 for --max-false-match, as 0.01, got {max_false_match:g}"
        )
    options: SearchParams = {
        "limit": limit,
        "max_false_match": max_false_match,
        "score_threshold": score_threshold,
        "filter": None if condition is None else filter_of(condition),
        "group_by": group_by,
        "group_size": group_size,
        "exact": exact,
    }
    opened = Encoder(encoder) if encoder else None
    with Client(server, key=key) as client:
        start = time.perf_counter()
        if opened is None:
            described, sent = start, photo.stat().st_size
            answer = client.search_photo(photo, gallery=gallery, **options)
        else:
            vector = opened.encode(photo)
            described, sent = time.perf_counter(), len(pack(vector))
            origin = opened.manifest.encoder_id
            answer = client.search(vector, space=opened.space_id, encoder=origin, gallery=gallery, **options)
        answered = time.perf_counter()
    warn_of_unknown_fields(answer.unknown_fields)
    if as_json:
        typer.echo(answer.model_dump_json(indent=1))
        return
    print_hits(answer)
    print_notes(answer, options)
    described_in = f"described in {1000 * (described - start):.0f} ms, " if opened else ""
    by = f"the server described it with {answer.encoder}; " if opened is None and answer.encoder else ""
    typer.echo(
        f"{by}{described_in}searched in {1000 * (answered - described):.0f} ms, sent {sent:,} bytes; "
        f"the photo has {photo.stat().st_size:,}."
    )


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


def _check_out(out: Path, inputs: list[Path]) -> None:
    """Raise AskewError for a file that cannot be written, typer.BadParameter for one that is read."""
    from askew_client.contract.errors import AskewError

    if out.is_dir():
        raise AskewError(f"{out} cannot be written: it is a folder. Name a file in it.")
    if not out.parent.is_dir():
        raise AskewError(f"{out} cannot be written: {out.parent} is not a folder. Create it first.")
    if any(out.exists() and each.exists() and out.samefile(each) for each in inputs):
        raise typer.BadParameter(f"{out} is a file to read: name another one", param_hint="--out")


def _write_npy(path: Path, vectors: NDArray[np.float32]) -> None:
    import io

    import numpy as np

    from askew_client.files import write_atomically

    buffer = io.BytesIO()
    np.save(buffer, vectors)
    write_atomically(path, buffer.getvalue())
