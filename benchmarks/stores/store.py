"""What is measured of each store, and what it may be set to."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

LIMIT = 10
BATCH = 1_000
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Setting:
    """A configuration of an index, or a search effort: how it is printed, and its numbers."""

    name: str
    values: tuple[int, ...]


def graph(neighbours: int, construction: int) -> Setting:
    """The configuration of an HNSW graph: M and efConstruction."""
    return Setting(f"M {neighbours}, efConstruction {construction}", (neighbours, construction))


def candidates(*values: int) -> tuple[Setting, ...]:
    """Efforts of an HNSW graph: how many candidates a search keeps (`ef`)."""
    return tuple(Setting(f"ef {value}", (value,)) for value in values)


EF = candidates(32, 64, 128, 256, 512, 1024, 2048, 4096)
GRAPHS = (graph(16, 200), graph(32, 200), graph(32, 400), graph(48, 600), graph(64, 800))


class Store(ABC):
    """A store with one configuration, in a folder of its own."""

    label: str
    """Its name in the table."""
    threads = CORES
    """How many threads build its index."""
    configurations: Sequence[Setting] = GRAPHS
    """What its index can be set to, lightest first."""
    first = 1
    """The position of the configuration to begin with: the lightest that is likely to reach the recall."""
    efforts: Sequence[Setting] = EF
    """Search efforts, ascending."""

    def __init__(self, configuration: Setting, folder: Path) -> None:
        self.configuration = configuration
        self.folder = folder

    @abstractmethod
    def insert(self, stored: NDArray[np.float32]) -> None:
        """Insert all vectors, float32 [n, D], each with a payload if the store supports payloads."""

    def build(self) -> None:  # noqa: B027
        """Build the index, if that is a separate step."""

    @abstractmethod
    def set_effort(self, effort: Setting) -> None:
        """Set the search effort for the searches to come."""

    @abstractmethod
    def search(self, query: NDArray[np.float32]) -> list[int]:
        """The numbers of the ten nearest vectors to a query, float32 [D]."""

    def processes(self) -> list[psutil.Process]:
        """The processes whose memory counts."""
        me = psutil.Process()
        return [me, *me.children(recursive=True)]
