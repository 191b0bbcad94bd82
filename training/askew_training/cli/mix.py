"""`askew mix`: average a tuned network with the weights that it started from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_training.cli.outputs import check_checkpoint

if TYPE_CHECKING:
    from askew_training.networks.checkpoint import Description


@stopped_by_sigterm()
def mix(
    tuned: Annotated[Path, typer.Argument(help="The checkpoint of a network that was trained.")],
    output: Annotated[Path, typer.Argument(help="The checkpoint to write; with --weights, it has no linear layer.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(help="For each trunk, what it started from: a file in timm's layout, a package, or timm."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Or the checkpoint that it started from. The linear layers are averaged too; a student stays in its space."
        ),
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the tuned weights; 0 is the start.")] = 0.5,
) -> None:
    """Average a tuned network's weights with those of its start, which preserves more of what it knew (WiSE-FT)."""
    from askew_training.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from askew_training.networks.mixing import mix_with_checkpoint, mix_with_start

    if bool(weights) == (start is not None):
        raise typer.BadParameter("expected --weights for each trunk, or --start, and not both")
    check_checkpoint(output, (tuned, start, *map(Path, weights or [])))
    loaded = load_checkpoint(tuned)
    changes: dict[str, object] = {"recipe": f"{loaded.description.recipe}; askew mix --share {share:g}"}
    if start is None:
        network = mix_with_start(loaded.network, weights or [], share)
        changes |= {"dim": None, "teacher_space": None, "derived_from": None}
    else:
        started = load_checkpoint(start)
        network = mix_with_checkpoint(loaded, started, share)
        changes |= _origin(loaded.description, started.description, str(changes["recipe"]))
    mixture = Checkpoint(network, loaded.description.model_copy(update=changes))
    save_checkpoint(output, mixture)
    typer.echo(f"{output}: {share:g} of {tuned}, {network.dim} dimensions, space {mixture.space_id}")


def _origin(tuned: Description, start: Description, recipe: str) -> dict[str, object]:
    """What the mixture says of its origin: the photos and recipes of both, and both histories if the tuned network does not continue its start."""
    from askew_training.data.licences import merged_sources

    continues = tuned.recipe == start.recipe or tuned.recipe.startswith(f"{start.recipe}; ")
    return {
        "recipe": recipe if continues else f"{recipe}; the rest: ({start.recipe})",
        "data": merged_sources(tuned.data, start.data),
        "derived_from": tuned.derived_from if tuned.derived_from == start.derived_from else None,
        "recipe_texts": (*tuned.recipe_texts, *(text for text in start.recipe_texts if text not in tuned.recipe_texts)),
    }
