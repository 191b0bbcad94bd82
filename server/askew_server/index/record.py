"""The record of a main segment on disk, `main.json`. It is written last; only the files that it names are the index."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from askew_client.files import write_atomically
from askew_server.index.types import MARGIN, CodedKind, Precision

RECORD = "main.json"
FORMAT = 1


class Costs(BaseModel):
    """Seconds for one query, measured during the build. A search uses them to pick the cheaper way to apply a filter."""

    model_config = ConfigDict(extra="forbid")

    scan_row: float
    """The scan, for each row of the segment."""
    refine_row: float
    """The refinement, for each candidate of the scan."""
    test_row: float
    """The flat pass, for each row that it tests against a mask."""
    score_row: float
    """The flat pass, for each row that it also scores."""


class Calibration(BaseModel):
    """The search parameters of a main segment, and its recall, measured on held-out vectors when it was built.

    `k_factor`: candidates of the scan for each vector wanted, at 10 hits and at 100. `exact_margin`: how many more than
    wanted an exact search fetches, at 10 hits and at 100. Recalls: the share of the true ten nearest among the first ten
    hits after they are ordered by the stored vectors; `plain` for vectors of the gallery itself, `moved` for vectors
    moved to a cosine of 0.8. `slices`: how many parts the rows are cut into.
    """

    model_config = ConfigDict(extra="forbid")

    k_factor: float
    k_factor_at_100: float
    nprobe: int | None
    recall_at_10: float
    recall_plain: float
    recall_moved: float
    exact_margin: int
    exact_margin_at_100: int
    slices: int
    costs: Costs

    def factor(self, count: int) -> float:
        """The k_factor for `count` vectors, interpolated logarithmically between those for 10 and for 100 hits."""
        known = (self.k_factor, self.k_factor_at_100)
        return float(np.interp(math.log(count), (math.log(10 + MARGIN), math.log(100 + MARGIN)), known))

    def seconds(self, rows: int, count: int) -> float:
        """About how long a search for `count` vectors among `rows` rows takes."""
        return self.costs.scan_row * rows + self.costs.refine_row * count * self.factor(count)


class SavedFile(BaseModel):
    """A file of the segment: its size, and the digest of each of its blocks."""

    model_config = ConfigDict(extra="forbid")

    bytes: int
    blocks: list[str]


class Record(BaseModel):
    """A main segment: its `folder` next to the record, its files, their content and calibration.

    `sequence`: the segment holds every label up to it that the gallery held during the build. `order`: the order in
    which the codes take a vector's components. `refine`: the precision of the scalar codes.
    """

    model_config = ConfigDict(extra="forbid")

    format: int
    kind: CodedKind
    generation: int
    folder: str
    dim: int
    count: int
    sequence: int
    order: list[int]
    refine: Precision
    calibration: Calibration
    built_at: str
    build_seconds: float
    faiss: str
    files: dict[str, SavedFile]
    digest: str = ""

    def sealed(self) -> Self:
        """The record with its digest filled in, which covers all other fields."""
        return self.model_copy(update={"digest": self._digest()})

    def write(self, folder: Path) -> None:
        """Make the files of this record the main segment of `folder`."""
        write_atomically(folder / RECORD, self.sealed().model_dump_json().encode())

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record in `folder`; None if missing. Raises ValueError, with a readable message, for a damaged one."""
        path = folder / RECORD
        try:
            record = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise ValueError(f"{path} is damaged, or is not the record of an index.") from None
        if record.format != FORMAT:
            raise ValueError(f"{path} has format {record.format}; this version of Askew reads format {FORMAT}.")
        if record.digest != record._digest():
            raise ValueError(f"{path} is damaged: its digest does not match.")
        return record

    def _digest(self) -> str:
        text = self.model_copy(update={"digest": ""}).model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()
