"""`askew describe-network`: the structure and cost of a network, before anything is trained or exported."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from askew_training.cli.options import LARGEST_PHOTO_SIZE
from askew_training.networks.names import PoolingName

if TYPE_CHECKING:
    from askew_training.networks.cost import Cost
    from askew_training.networks.network import Network


def describe_network(
    network: Annotated[str, typer.Argument(metavar="TRUNK|CHECKPOINT", help="A timm network, or a checkpoint.")],
    projection: Annotated[int | None, typer.Option(min=1, help="Channels of a 1×1 convolution before pooling.")] = None,
    pooling: Annotated[PoolingName | None, typer.Option(help="How a map becomes a vector; default: gem.")] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Dimensions of a linear layer after pooling.")] = None,
    photo_size: Annotated[
        int,
        typer.Option(min=96, max=LARGEST_PHOTO_SIZE, help="Both sides of the photo that operations are counted for."),
    ] = 362,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a network's parameters, operations, dimension, stride and the size of its encoder file."""
    from askew_training.export.size import expected_bytes
    from askew_training.networks.cost import cost_of

    chosen = _network(network, projection, pooling, dim)
    report = _Report(
        network=network,
        cost=cost_of(chosen, photo_size),
        dim=chosen.dim,
        scales=chosen.scales,
        photo_size=photo_size,
        fp32_bytes=expected_bytes(chosen, "fp32"),
        fp16_bytes=expected_bytes(chosen, "fp16"),
        int8_bytes=expected_bytes(chosen, "int8"),
    )
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, ensure_ascii=False))
    else:
        Console().print(report.to_table())


@dataclass(frozen=True)
class _Report:
    network: str
    cost: Cost
    dim: int
    scales: tuple[float, ...]
    photo_size: int
    fp32_bytes: int
    fp16_bytes: int
    int8_bytes: int

    def to_table(self) -> Table:
        table = Table(title=self.network, show_header=False)
        for branch in self.cost.branches:
            table.add_row("branch", f"{branch.trunk}: {branch.channels} channels at stride {branch.stride}")
        table.add_row("vector", f"{self.dim} dimensions")
        table.add_row("scales", ", ".join(f"{scale:.4g}" for scale in self.scales))
        table.add_row("parameters", f"{self.cost.parameters / 1e6:.2f} M ({self.cost.parameters:,})")
        table.add_row(f"at {self.photo_size} × {self.photo_size} px", f"{self.cost.flops / 1e9:.2f} GFLOPs")
        sizes = (
            f"{self.fp32_bytes / 1e6:.1f} MB, {self.fp16_bytes / 1e6:.1f} in fp16, {self.int8_bytes / 1e6:.1f} in int8"
        )
        table.add_row("encoder file", sizes)
        return table


def _network(name: str, projection: int | None, pooling: PoolingName | None, dim: int | None) -> Network:
    from torch import nn

    from askew_training.networks.checkpoint import load_checkpoint
    from askew_training.networks.network import Branch, Network
    from askew_training.networks.trunks import Trunk

    if Path(name).is_file():
        if projection or pooling or dim:
            raise typer.BadParameter(
                "a checkpoint has its own projection, pooling and dimension: leave --projection, --pooling and --dim out"
            )
        return load_checkpoint(Path(name)).network
    branch = Branch(Trunk(name), projection, pooling or "gem")
    return Network([branch], nn.Linear(branch.channels, dim) if dim else None)
