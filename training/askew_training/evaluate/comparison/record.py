"""The outcome of a comparison as a file: `askew compare --json` writes it, and reports draw it.

A row is a pair of encoders (under the same settings), a column is what was measured: a dataset, a protocol and a set of
its queries. Rows and columns are referred to by their place in `Comparison.rows` and `Comparison.columns`, from 0.
All shares, scores and differences are fractions, not per cent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from askew_client.files import write_atomically
from askew_training.errors import DataError

Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]
CostName = Literal["gigaflops", "milliseconds", "file_bytes", "query_bytes"]
Verdict = Literal["better", "worse", "inside the noise"]
TOGETHER = "together"
"""The name of the set that holds all queries."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Record):
    """A confidence interval: of a mean, within [0, 1]; of a difference, within [-1, 1]."""

    low: float
    high: float


class Cost(_Record):
    """What one query costs. None: not known, because the encoder's file was not given, or not measured.

    `gigaflops`: operations, twice the multiply-accumulates, for a photo of `photo_side` × `photo_side` px, which is the
    longest side that the encoder describes. `paper_gigaflops`: for 362 × 362 px, as the tables of the papers count; None
    also if the encoder describes no photo so large. `milliseconds`: the median for a photo of `Comparison.timed_photo`.
    `query_bytes`: two for each dimension.
    """

    query_bytes: int
    photo_side: int
    gigaflops: float | None = None
    paper_gigaflops: float | None = None
    file_bytes: int | None = None
    milliseconds: float | None = None


class EncoderEntry(_Record):
    """An encoder of the comparison. `label`: how it is called in tables, unique. `encoder`: `name@version`."""

    label: str
    encoder: str
    sha256: str
    space_id: str
    dim: int
    photo_size: int
    scales: tuple[float, ...]
    recipe: str
    cost: Cost


class Row(_Record):
    """A pair of encoders. `label`: unique. `queries`, `gallery`: places in `Comparison.encoders`.

    `settings`: those of its measurements that tell it from other rows, such as a search-time method.
    """

    label: str
    queries: Place
    gallery: Place
    kind: Literal["symmetric", "asymmetric"]
    settings: dict[str, str | float | bool] = Field(default_factory=dict)


class Column(_Record):
    """What is measured. `set_name`: one set of queries, or `together`. `instances`: how many things the queries show.

    `settings`: those that all its measurements share, such as `crop`.
    """

    dataset: str
    protocol: str
    set_name: str
    metric: str
    queries: int
    instances: int
    gallery_photos: int
    distractors: int = 0
    average_precision: Literal["trapezoid", "standard"] = "trapezoid"
    settings: dict[str, str | float | bool] = Field(default_factory=dict)


class Cell(_Record):
    """The quality of a row in a column; a row that was not measured there has none.

    `interval`: None if the queries show one thing only. `precision`: mean precision by k. `queries`: how many count here.
    """

    row: Place
    column: Place
    value: Share
    interval: Interval | None
    queries: int
    precision: dict[int, Share] = Field(default_factory=dict)


class Difference(_Record):
    """A row compared with the baseline row on the queries that both counted: positive if the row is better.

    `interval`: at `Comparison.confidence`. `corrected_interval`: at the confidence to which Holm's correction holds it.
    `p_value`: of a sign-flip test over instances. `corrected_p_value`: by Holm, over the rows of the column. `sentence`:
    the verdict in words. Intervals are None if the queries show one thing only; the verdict is then `inside the noise`.
    """

    row: Place
    baseline: Place
    column: Place
    difference: float
    interval: Interval | None
    corrected_interval: Interval | None
    p_value: Share
    corrected_p_value: Share
    queries: int
    instances: int
    verdict: Verdict
    sentence: str


class Frontier(_Record):
    """The rows that no other row beats in a column at the same cost or less, the cheapest first."""

    column: Place
    cost: CostName
    rows: tuple[Place, ...]


class ScoreDistribution(_Record):
    """How scores are distributed: histograms over [-1, 1] with bins of equal width.

    `matches`, `non_matches`: how many pairs of a query and a gallery photo fall into each bin; the last bin holds 1, too.
    `mean_match`, `mean_non_match`: the mean scores; None without any. `separation`: how probably a match scores higher
    than a non-match of the same query, averaged over queries; 0.5 is chance; None without a query that has both.
    """

    row: Place
    dataset: str
    matches: tuple[int, ...]
    non_matches: tuple[int, ...]
    mean_match: float | None
    mean_non_match: float | None
    separation: Share | None


class LostQuery(_Record):
    """A query that does worse with the row's query encoder than with the gallery's own."""

    id: str
    instance: str
    set_name: str
    gallery_average_precision: Share
    average_precision: Share


class Alignment(_Record):
    """How the row's query encoder lands in the space of its gallery's encoder, on the queries of a dataset.

    `photos`: how many both describe. `mean_cosine`, `low_cosine`: the mean, and the 5th percentile, of the cosine of both
    vectors of a photo. `overlap`: by k, the share of the first k that both have in common. `order_flips`: the share of
    pairs among the first `flips_among` that stand in the opposite order. `lost_most`: by loss, the worst first.
    """

    row: Place
    dataset: str
    photos: int
    mean_cosine: float
    low_cosine: float
    overlap: dict[int, Share]
    order_flips: Share | None
    flips_among: int
    lost_most: tuple[LostQuery, ...] = ()


class Skipped(_Record):
    """A pair that was not measured, and why. `queries`, `gallery`: labels."""

    queries: str
    gallery: str
    reason: str


class Comparison(_Record):
    """Everything that `askew compare` found.

    `confidence`: of the intervals, such as 0.95. `resamples`, `seed`: of the resampling. `timed_photo`: width and height of
    the photo that milliseconds are for; `machine`: where they were measured. `frontier_cost`: the cost that tables mark the
    frontier by; None if no cost is known of all rows.
    """

    format: Literal["askew-comparison-1"] = "askew-comparison-1"
    confidence: float
    resamples: int
    seed: int
    encoders: tuple[EncoderEntry, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...] = ()
    frontiers: tuple[Frontier, ...] = ()
    frontier_cost: CostName | None = None
    distributions: tuple[ScoreDistribution, ...] = ()
    alignments: tuple[Alignment, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    timed_photo: tuple[int, int] | None = None
    machine: str = ""

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        rows = [
            *(each.row for each in self.cells),
            *(place for each in self.differences for place in (each.row, each.baseline)),
            *(each.row for each in self.distributions),
            *(each.row for each in self.alignments),
            *(row for each in self.frontiers for row in each.rows),
        ]
        columns = [
            *(each.column for each in self.cells),
            *(each.column for each in self.differences),
            *(each.column for each in self.frontiers),
        ]
        encoders = [place for each in self.rows for place in (each.queries, each.gallery)]
        for what, places, count in (
            ("row", rows, len(self.rows)),
            ("column", columns, len(self.columns)),
            ("encoder", encoders, len(self.encoders)),
        ):
            if places and max(places) >= count:
                raise ValueError(f"it refers to {what} {max(places)} of {count}, counted from 0")
        return self

    def cell(self, row: int, column: int) -> Cell | None:
        """The cell at a place; None if that was not measured."""
        return next((each for each in self.cells if (each.row, each.column) == (row, column)), None)

    def cost(self, row: int) -> Cost:
        """What a query of a row costs."""
        return self.encoders[self.rows[row].queries].cost

    def write(self, path: Path) -> None:
        """Write as JSON; a file that was there is replaced as a whole."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")


def read_comparison(path: Path) -> Comparison:
    """Read a file that `Comparison.write` wrote. Raises DataError."""
    try:
        return Comparison.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"Expected a comparison, but {path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{path} is not a comparison: {first['msg']}, at {where}. Expected a file that `askew compare --json` wrote."
        ) from None
