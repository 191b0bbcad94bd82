"""`askew doctor`: examine a DATA directory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from askew_server.cli.options import AsJson

EXIT_DAMAGED = 1


def doctor(
    data: Annotated[Path, typer.Option(envvar="ASKEW_DATA", help="The DATA directory; no server may be using it.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what is safe to repair: nothing that can still be read is lost.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="Take a database whose last writes are missing as it is, make an empty askew.db where there is none, and no "
            "longer expect galleries whose folders are gone. Put back a copy first, if there is one.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine the databases, vectors, photos, encoders, indexes and snapshots of DATA, and its GPUs if it uses any.

    Exit code 1: damage remains. The GPU's settings are read from the environment, as `askew serve` does.
    """
    from askew_server.maintenance.doctor import examine_data
    from askew_server.maintenance.gpu_examination import examine_gpu
    from askew_server.settings import read_settings

    gpu_options = read_settings({}).gpu
    diagnosis = examine_data(data, repair=repair, accept_loss=accept_loss)
    gpu = examine_gpu(data, gpu_options)
    if as_json:
        findings = [
            {
                "gallery": finding.gallery,
                "file": str(finding.file),
                "what": finding.what,
                "advice": finding.advice,
                "is_damage": finding.is_damage,
                "repaired": repaired,
            }
            for finding, repaired in diagnosis.findings
        ]
        summary = {"galleries": diagnosis.galleries, "free_bytes": diagnosis.free_bytes, "findings": findings}
        typer.echo(json.dumps({"is_well": diagnosis.is_well, **summary, "gpu": asdict(gpu)}, indent=1))
    else:
        for finding, repaired in diagnosis.findings:
            kind = "repaired" if repaired else "damage" if finding.is_damage else "note"
            typer.echo(f"{kind}: {finding.file}: {finding.what} {repaired or finding.advice}")
        for name, items in diagnosis.galleries.items():
            typer.echo(f"gallery {name!r}: {'cannot be read' if items is None else f'{items} items'}")
        for line in gpu.lines:
            typer.echo(line)
        typer.echo("Everything is in order." if diagnosis.is_well else "Damage remains; see above.")
    if not diagnosis.is_well:
        raise typer.Exit(EXIT_DAMAGED)
