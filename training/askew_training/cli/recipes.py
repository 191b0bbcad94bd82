"""`askew recipe list` and `askew recipe copy`: the recipes that the package ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

recipe = typer.Typer(no_args_is_help=True, help="List the recipes that are shipped, and copy them to change and run.")


@recipe.command(name="list")
def list_recipes() -> None:
    """List the shipped recipes, each with the first line of its comment."""
    from askew_training.recipes import shipped_recipes

    found = shipped_recipes()
    width = max(map(len, found))
    for name, path in found.items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        typer.echo(f"{name:<{width}}  {first.removeprefix('#').strip()}")


@recipe.command(name="copy")
def copy_recipes(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Such as small/regression, or small for the whole set.")
    ],
    folder: Annotated[Path, typer.Argument(help="Where the copies go; created if missing.")],
) -> None:
    """Copy recipes, and the licences.toml of their set, into a folder. A file of the same name there is never replaced."""
    from askew_training.recipes import copy_recipe

    for path in copy_recipe(names, folder):
        typer.echo(str(path))
