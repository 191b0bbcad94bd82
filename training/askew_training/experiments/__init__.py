"""The experiments that the package ships: `small`, `paper` and `matching`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def shipped_experiments() -> dict[str, Path]:
    """The file of each experiment, by name, sorted."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}
