"""Constants with their sources, and the figures of a plan, each with the formula that it comes from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from askew_client.errors import AskewError

Kind = Literal["measured", "published", "chosen"]


@dataclass(frozen=True)
class Constant:
    """A number that was measured by us, published by others, or chosen. `unit`: "" for a mere number."""

    name: str
    value: float
    unit: str
    kind: Kind
    source: str


@dataclass(frozen=True)
class Gpu:
    """A GPU: bytes of memory, and bytes a second that it reads from it."""

    name: str
    memory: Constant
    bandwidth: Constant


@dataclass(frozen=True)
class Figure:
    """One line of a plan. `value`: a number in `unit`, or a word. `constants`: those of the formula."""

    name: str
    value: float | str
    unit: str
    formula: str
    constants: tuple[Constant, ...] = ()

    @property
    def kind(self) -> Literal["measured", "computed"]:
        """Measured if it is a measured constant as it is; otherwise computed."""
        is_constant = len(self.constants) == 1 and self.value == self.constants[0].value
        return "measured" if is_constant and self.constants[0].kind == "measured" else "computed"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        constants = [
            {"name": each.name, "value": each.value, "unit": each.unit, "kind": each.kind, "source": each.source}
            for each in self.constants
        ]
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "kind": self.kind,
            "formula": self.formula,
            "constants": constants,
        }


@dataclass(frozen=True)
class Constants:
    """All constants of the shipped table, by name."""

    by_name: dict[str, Constant]
    gpus: dict[str, Gpu] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Constant:
        return self.by_name[name]

    def gpu(self, name: str) -> Gpu:
        """A GPU by name. Raises AskewError for one that the table does not have."""
        found = self.gpus.get(name.lower())
        if found is None:
            raise AskewError(
                f"Expected one of the GPUs {', '.join(sorted(self.gpus))}, got {name[:40]!r}. For another one, name the most "
                "similar of them that has no more memory."
            )
        return found


def load_constants() -> Constants:
    """The shipped table: constants.toml."""
    table = tomllib.loads(files(__package__).joinpath("constants.toml").read_text(encoding="utf-8"))
    gpus = table.pop("gpu")
    return Constants(
        {name: Constant(name, **entry) for name, entry in table.items()},
        {name: _gpu(name, **entry) for name, entry in gpus.items()},
    )


def _gpu(name: str, memory: float, bandwidth: float, kind: Kind, source: str) -> Gpu:
    return Gpu(
        name,
        Constant(f"memory of {name}", memory, "B", kind, source),
        Constant(f"bandwidth of {name}", bandwidth, "B/s", kind, source),
    )
