"""Figures that others have published (published.toml). They are symmetric, and always marked as theirs."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from askew_training.errors import DataError
from askew_training.evaluate.comparison.record import TOGETHER, Column

ALL = "all"
_MILLION = range(1_000_000, 1_010_000)
"""Distractors of revisited Oxford and Paris: 1,001,001 photos."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Record):
    text: str


class _Figure(_Record):
    source: str
    system: str
    values: dict[str, Annotated[float, Field(ge=0, le=100)]]


class _Document(_Record):
    sources: dict[str, _Source]
    figures: dict[str, _Figure]


@dataclass(frozen=True)
class Published:
    """Figures of one system. `values`: mAP in per cent by `DATASET.PROTOCOL`. `source`: who published them, and how."""

    key: str
    source_key: str
    system: str
    values: dict[str, float]
    source: str

    def value(self, column: Column) -> float | None:
        """The figure that stands for a column, in per cent; None if they published none."""
        if column.set_name != TOGETHER or column.metric != "mAP":
            return None
        if column.distractors == 0:
            return self.values.get(f"{column.dataset}.{column.protocol}")
        if column.distractors in _MILLION:
            return self.values.get(f"{column.dataset}+1m.{column.protocol}")
        return None


def read_published() -> dict[str, Published]:
    """All published figures, by key."""
    text = files("askew_training.evaluate.reporting").joinpath("published.toml").read_text(encoding="utf-8")
    document = _Document.model_validate(tomllib.loads(text))
    return {
        key: Published(key, figure.source, figure.system, figure.values, document.sources[figure.source].text)
        for key, figure in document.figures.items()
    }


def choose_published(keys: Sequence[str]) -> tuple[Published, ...]:
    """The figures of some keys, of the source that a key names, or all (`all`), each once. Raises DataError."""
    known = read_published()
    chosen: dict[str, Published] = {}
    for key in keys:
        fitting = {name: each for name, each in known.items() if key in (ALL, name, each.source_key)}
        if not fitting:
            near = get_close_matches(key, known, n=3) or list(known)[:3]
            raise DataError(
                f"There are no published figures {key!r}. Expected {ALL!r}, aml, cirtorch, dirtorch, revisitop, token, "
                f"vitgal, or one of their networks, such as {', '.join(near)}."
            )
        chosen.update(fitting)
    return tuple(chosen.values())
