"""What a gallery of a given size takes: index, memory, disk, machines, times, recall."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields

from askew_client.errors import AskewError
from askew_server.planning.disk import disk_figures
from askew_server.planning.figures import Constants, Figure, Gpu
from askew_server.planning.filling import filling_figures
from askew_server.planning.memory import indexed_kind, memory_figures, memory_of
from askew_server.planning.serving import serving_figures

MOST_ITEMS = 1_000_000_000_000
_LARGEST = 1e18
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Wanted:
    """What is to be planned. Bytes are those of one item; `photos_per_second`: of one machine, None: by its cores.

    `cores`, `memory`: of one machine, in bytes.
    """

    items: int
    qps: float = 10
    dim: int = 2_048
    id_bytes: int = 24
    payload_bytes: int = 200
    picture_bytes: float | None = None
    cores: int = 16
    memory: float = 128e9
    photos_per_second: float | None = None
    gpu: str | None = None

    def check(self) -> None:
        """Raise AskewError for what cannot be planned."""
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int | float):
                continue
            may_be_zero = each.name in {"id_bytes", "payload_bytes", "picture_bytes"}
            name = f"--{each.name.replace('_', '-')}"
            # Comparisons with NaN are false. A whole number may be too large for a float.
            if not value >= 0 or (value == 0 and not may_be_zero):
                least = "of 0 or more" if may_be_zero else "above 0"
                raise AskewError(f"Expected {name} as a number {least}, got {_shown(each.name, value)}.")
            if value > _LARGEST or 0 < value < _SMALLEST:
                raise AskewError(
                    f"Expected {name} as a number that can be planned with, up to {_shown(each.name, _LARGEST)}, got "
                    f"{_shown(each.name, value)}."
                )
        if self.items > MOST_ITEMS:
            raise AskewError(f"Expected at most {MOST_ITEMS:,} items, got {self.items:,}. Is there a zero too many?")
        if not 2 <= self.dim <= 65_536:
            raise AskewError(
                f"Expected vectors of 2 to 65,536 components, got {self.dim}. The teacher's manifest names them."
            )


def _shown(name: str, value: float) -> str:
    """A number as the option was given."""
    if value > sys.float_info.max:
        return "a larger one"
    return f"{value / 1e9:g} GB" if name == "memory" else f"{value:g}"


@dataclass(frozen=True)
class Plan:
    """The figures of a plan, in the order in which they are shown, and sentences about what it leaves open."""

    wanted: Wanted
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def number(self, name: str) -> float:
        """The value of a figure. Raises KeyError if there is none of this name, or it is a word."""
        for figure in self.figures:
            if figure.name == name and not isinstance(figure.value, str):
                return figure.value
        raise KeyError(name)


def make_plan(wanted: Wanted, constants: Constants) -> Plan:
    """Plan a gallery. Raises AskewError for numbers that make no plan."""
    wanted.check()
    gpu = None if wanted.gpu is None else constants.gpu(wanted.gpu)
    shards, per_shard = _shards(wanted, constants)
    kind = indexed_kind(per_shard, wanted.dim)
    named = Figure(
        "index",
        kind if gpu is None else f"gpu-exact, beside {kind}",
        "",
        "docs/index.md: exact up to 20,000 vectors, two stages beyond; a GPU if one is named, beside the index of the CPU",
    )
    figures = [
        named,
        *memory_figures(per_shard, wanted.dim, constants),
        *disk_figures(per_shard, wanted, constants),
        Figure(
            "shards",
            shards,
            "",
            f"so many that the memory of each fits into {constants['usable_memory'].value:g} of a machine's",
        ),
        Figure("items in a shard", per_shard, "", "items / shards, rounded up"),
        *serving_figures(wanted, shards, per_shard, kind, gpu, constants),
        *filling_figures(wanted, per_shard, constants),
    ]
    return Plan(wanted, tuple(figures), tuple(_notes(wanted, shards, gpu)))


def _shards(wanted: Wanted, constants: Constants) -> tuple[int, int]:
    """How many machines the items are divided among, and how many items each has. Raises AskewError."""
    usable = constants["usable_memory"].value * wanted.memory
    if memory_of(1, wanted.dim, constants) > usable:
        raise AskewError(
            f"Expected machines that can serve one item at least, but {wanted.memory / 1e9:g} GB are too little. Name more "
            "memory: --memory"
        )
    # The memory grows with the items, so the most that fit are found by halving.
    fitting, too_many = 1, wanted.items + 1
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if memory_of(middle, wanted.dim, constants) <= usable:
            fitting = middle
        else:
            too_many = middle
    shards = -(-wanted.items // fitting)
    return shards, -(-wanted.items // shards)


def _notes(wanted: Wanted, shards: int, gpu: Gpu | None) -> list[str]:
    notes = []
    if wanted.items / shards > 1_000_000:
        notes.append(
            "Times beyond 1,000,000 items in a shard are extrapolated: the scan is taken to be linear in them."
        )
    if shards > 1:
        notes.append(
            "A gallery of several shards is kept by Milvus (docs/milvus.md). Its own indexes were not measured here; the "
            "figures of a shard are those of Askew's index. The answer waits for the slowest shard: docs/scale.md."
        )
    if gpu is not None:
        notes.append(
            "Times on the GPU are the goal that benchmarks/gpu.py compares with, not a measurement of this GPU."
        )
    if wanted.photos_per_second is None:
        notes.append(
            "Photos a second are those of the demo's small teacher; measure yours and give --photos-per-second."
        )
    return notes
