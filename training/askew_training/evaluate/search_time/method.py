"""What every search-time method is: settings, a gallery made ready for it, and scores of queries on that gallery."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
Grid = Mapping[str, tuple[float | str, ...]]
"""The values of each setting that are tried to choose them."""

Count = Annotated[int, Field(ge=1, le=1 << 40)]
"""How many of something; at most more than any gallery has."""
Exponent = Annotated[float, Field(ge=0, le=100)]
"""Of a score: far above 3, only scores of nearly 1 count, and the powers of others are no numbers any more."""

NOT_THERE = -1
"""The own row of a query that the gallery does not hold."""


class ReadyGallery(Protocol):
    """A gallery that was made ready for a method."""

    @property
    def bytes_per_vector(self) -> float:
        """What a search keeps of each gallery photo, in bytes."""
        ...

    def score(self, queries: Vectors, own: Rows) -> Scores:
        """Score every gallery photo for every query, higher is better, in [-1, 1].

        `queries`: float32 [n, D] unit vectors. `own`: int64 [n, k], the rows of the query's own photo in the gallery, or
        `NOT_THERE`; it is no neighbour of the query, and takes no part in what is made of the query's hits. Returns float32 [n, m]. A query's scores do not depend on the
        other queries.
        """
        ...


class Method(BaseModel, ABC):
    """One method with its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    grid: ClassVar[Grid] = {}

    @property
    def learns_from_others(self) -> bool:
        """Whether `prepare` needs vectors of photos outside the benchmark."""
        return False

    @abstractmethod
    def prepare(self, gallery: Vectors, others: Vectors) -> ReadyGallery:
        """Make a gallery ready.

        `gallery`: float32 [m, D] unit vectors, m > 0. `others`: float32 [k, D], of photos outside the benchmark by the same
        encoder, from which a rotation or a codebook is learned; may be empty. Raises DataError if they are too few, or
        if a setting does not fit D.
        """

    @property
    def settings(self) -> dict[str, float | str | bool]:
        """By name, in the order of their definition."""
        return self.model_dump()

    @property
    def title(self) -> str:
        """Such as `alpha-qe:neighbours=10,alpha=3`: what `parse_method` reads."""
        values = ",".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.settings.items()
        )
        return f"{self.name}:{values}" if values else self.name
