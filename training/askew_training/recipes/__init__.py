"""The recipes that the package ships: `paper`, `small`, `matching` and `demo`."""

from __future__ import annotations

from pathlib import Path

from askew_training.errors import TrainingError

_FOLDER = Path(__file__).parent
_LICENCES = "licences.toml"


def shipped_recipes() -> dict[str, Path]:
    """The file of each recipe, by name, such as `small/regression`, sorted."""
    files = [path for path in sorted(_FOLDER.glob("*/*.toml")) if path.name != _LICENCES]
    return {f"{path.parent.name}/{path.stem}": path for path in files}


def copy_recipe(names: list[str], folder: Path) -> list[Path]:
    """Copy recipes, and the licences of their set, into a folder: the files that were written.

    `names`: names of recipes or of whole sets. Raises TrainingError, before anything is written, for a name that no
    recipe has, and for a file that is there already with other content.
    """
    shipped = shipped_recipes()
    sources: dict[str, Path] = {}
    for name in names:
        chosen = [path for each, path in shipped.items() if name.removesuffix(".toml") in (each, each.split("/")[0])]
        if not chosen:
            raise TrainingError(
                f"There is no recipe {name[:80]!r}. Expected one of those that `askew recipe list` shows, such as "
                "small/regression, or a whole set: demo, matching, paper or small."
            )
        for path in [*chosen, chosen[0].parent / _LICENCES]:
            if sources.setdefault(path.name, path) != path:
                raise TrainingError(
                    f"{path.name} of {path.parent.name} and of {sources[path.name].parent.name} would be one file in {folder}. "
                    "Copy the sets into folders of their own."
                )
    differing = [name for name, path in sources.items() if _differs(folder / name, path)]
    if differing:
        raise TrainingError(
            f"{folder / differing[0]} is there already, with other content. Move it away, or copy into another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in sources.items():
        (folder / name).write_bytes(path.read_bytes())
    return [folder / name for name in sources]


def _differs(target: Path, source: Path) -> bool:
    return target.exists() and (not target.is_file() or target.read_bytes() != source.read_bytes())
