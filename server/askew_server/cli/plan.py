"""`askew plan`: what a gallery of a given size takes. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.errors import AskewError
from askew_server.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askew_server.planning.figures import Constant, Figure
    from askew_server.planning.plan import Plan


def plan(
    items: Annotated[
        int | None, typer.Option(min=1, help="How many photos the gallery has, such as 50_000_000.")
    ] = None,
    qps: Annotated[float, typer.Option(help="Searches a second, at the busiest time.")] = 10,
    dim: Annotated[int, typer.Option(help="Components of a vector: the teacher's manifest names them.")] = 2_048,
    id_bytes: Annotated[int, typer.Option(help="Bytes of an item's id.")] = 24,
    payload_bytes: Annotated[int, typer.Option(help="Bytes of an item's payload, as JSON.")] = 200,
    picture_bytes: Annotated[
        float | None,
        typer.Option(
            help="Bytes of an item's photo; 0: none are stored. If absent: a copy of the demo teacher's photo size."
        ),
    ] = None,
    cores: Annotated[int, typer.Option(help="Processor cores of one machine.")] = 16,
    memory: Annotated[float, typer.Option(help="Memory of one machine, in GB.")] = 128,
    photos_per_second: Annotated[
        float | None, typer.Option(help="Photos that one machine describes in a second, as you measured it.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="The GPU that searches, such as h100. If absent: none.")] = None,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices to compute the cost with: see --write-prices.")
    ] = None,
    write_prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a file of prices to fill in, and do nothing else.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the formula of every figure, and where its constants come from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Plan a gallery: index, memory, disk, machines, latency, recall, each figure marked as measured or computed."""
    from askew_server.planning.figures import load_constants
    from askew_server.planning.plan import Wanted, make_plan
    from askew_server.planning.prices import cost_figures, read_prices, write_template

    if write_prices is not None:
        write_template(write_prices)
        typer.echo(f"{write_prices} has no prices yet: fill them in, and name it with --prices.")
        return
    if items is None:
        raise AskewError(
            "Expected the number of photos, got none. For example: askew plan --items 50_000_000 --qps 200"
        )
    wanted = Wanted(
        items, qps, dim, id_bytes, payload_bytes, picture_bytes, cores, memory * 1e9, photos_per_second, gpu
    )
    planned = make_plan(wanted, load_constants())
    costs = [] if prices is None else cost_figures(planned, read_prices(prices))
    figures = [*planned.figures, *costs]
    if as_json:
        _print_json(planned, figures)
    else:
        _print_text(planned, figures, explain=explain)


def _print_json(planned: Plan, figures: Sequence[Figure]) -> None:
    import json
    from dataclasses import asdict

    described = {
        "wanted": asdict(planned.wanted),
        "figures": [each.as_json() for each in figures],
        "notes": planned.notes,
    }
    typer.echo(json.dumps(described, indent=1, ensure_ascii=False))


def _print_text(planned: Plan, figures: Sequence[Figure], *, explain: bool) -> None:
    wanted = planned.wanted
    typer.echo(
        f"{wanted.items:,} photos × {wanted.dim:,} components, {wanted.qps:g} searches a second, on machines with {wanted.cores} "
        f"cores and {wanted.memory / 1e9:g} GB. Memory, disk and times are those of one machine."
    )
    width = max(len(each.name) for each in figures)
    for each in figures:
        typer.echo(f"  {each.name:{width}}  {readable(each):>24}  {each.kind}")
        if explain:
            typer.echo(f"  {'':{width}}    = {each.formula}")
            for constant in each.constants:
                typer.echo(f"  {'':{width}}      {_constant(constant)}")
    for note in planned.notes:
        typer.echo(f"Note: {note}")


def readable(figure: Figure) -> str:
    """A figure's value with its unit, for a person."""
    value, unit = figure.value, figure.unit
    if isinstance(value, str):
        return value
    if unit == "B":
        size, name = next((size, name) for size, name in _SIZES if value >= size or size == 1)
        return f"{value / size:,.1f} {name}"
    if unit == "s":
        return f"{1000 * value:,.1f} ms"
    if unit == "1/s":
        return f"{value:,.0f} a second" if value >= 10 else f"{value:.2g} a second"
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


_SIZES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes"))


def _constant(constant: Constant) -> str:
    value = f"{constant.value:g} {constant.unit}".strip()
    return f"{constant.name} = {value}, {constant.kind}: {constant.source}"
