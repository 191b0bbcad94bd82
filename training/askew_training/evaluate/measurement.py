"""The outcome of one evaluation, query by query, as a file: what is compared, tabulated and reported reads these.

One measurement is one pair of encoders on one dataset under one protocol. It keeps the average precision of every query,
so that two measurements of the same queries can be compared pair by pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from askew_client.files import write_atomically
from askew_training.errors import DataError

Share = Annotated[float, Field(ge=0, le=1)]
Relevance = Literal["right", "wrong", "junk"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Side(_Record):
    """The encoder that described the queries, or the gallery.

    `encoder`: `name@version`. `sha256`: of its file. `recipe`: from its manifest. `photo_size`: longest side, pixels.
    """

    encoder: str
    sha256: str
    space_id: str
    dim: int
    photo_size: int
    scales: tuple[float, ...]
    recipe: str = ""


class Found(_Record):
    """A gallery photo among the first of a ranking: its id, its score in [-1, 1], and whether it is right."""

    id: str
    score: float
    relevance: Relevance


class QueryResult(_Record):
    """How one query did.

    `id`: its photo. `instance`: what it shows; queries of one instance are resampled together. `set_name`: the set that it
    is reported with. `average_precision`: None for a query without positives, which no mean counts. `precision`: by k.
    `positives`: how many the gallery holds. `first`: the head of its ranking.
    """

    id: str
    instance: str
    set_name: str
    positives: int = Field(ge=0)
    average_precision: Share | None
    precision: dict[int, Share] = Field(default_factory=dict)
    first: tuple[Found, ...] = ()


class Measurement(_Record):
    """One pair of encoders on one dataset under one protocol.

    `dataset`: such as `roxford5k`, or a benchmark of a manifest. `protocol`: `instances` for manifests; `easy`, `medium`,
    `hard`; `public`, `private`. `average_precision`: the definition that was used. `metric`: what the mean is called in a
    table. `gallery_photos`: with distractors; `distractors`: those among them. `settings`: whatever else the figures
    depend on, such as `crop` or a search-time method. `excluded`: by reason, the ids that were left out.
    """

    format: Literal["askew-measurement-1"] = "askew-measurement-1"
    dataset: str
    protocol: str
    average_precision: Literal["trapezoid", "standard"] = "trapezoid"
    metric: str = "mAP"
    queries: Side
    gallery: Side
    gallery_photos: int = Field(ge=0)
    distractors: int = Field(default=0, ge=0)
    settings: dict[str, str | float | bool] = Field(default_factory=dict)
    results: tuple[QueryResult, ...]
    excluded: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def kind(self) -> Literal["symmetric", "asymmetric"]:
        """symmetric if one encoder file described both sides."""
        return "symmetric" if self.queries.sha256 == self.gallery.sha256 else "asymmetric"

    @property
    def counted(self) -> tuple[QueryResult, ...]:
        """The queries that have positives, in their order."""
        return tuple(each for each in self.results if each.average_precision is not None)

    @property
    def mean_average_precision(self) -> float:
        """The mean over the counted queries, 0 to 1; NaN if there are none."""
        return _mean([each.average_precision or 0.0 for each in self.counted])

    def mean_precision(self, k: int) -> float:
        """The mean precision at k over the counted queries that have one, 0 to 1; NaN if there are none."""
        return _mean([each.precision[k] for each in self.counted if k in each.precision])

    def of_set(self, set_name: str) -> Self:
        """The same with the queries of one set alone."""
        return self.model_copy(update={"results": tuple(each for each in self.results if each.set_name == set_name)})

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of the sets, in the order of the queries."""
        return tuple(dict.fromkeys(each.set_name for each in self.results))

    def write(self, path: Path) -> None:
        """Write as JSON; a file that was there is replaced as a whole."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")


def read_measurement(path: Path) -> Measurement:
    """Read a file that `Measurement.write` wrote. Raises DataError."""
    try:
        return Measurement.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"Expected a measurement, but {path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(
            f"{path} is not a measurement: {first['msg']}, at {where}. Expected a file that `askew evaluate --measurements` or "
            "`askew evaluate-revisited --measurements` wrote."
        ) from None


def paired(first: Measurement, second: Measurement) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """The average precisions of the queries that both counted, float64 [n] each, and what each query shows.

    Raises DataError if they are not of the same dataset and protocol, or share no query.
    """
    if (first.dataset, first.protocol) != (second.dataset, second.protocol):
        raise DataError(
            f"Expected two measurements of one dataset and protocol, got {first.dataset} {first.protocol} and "
            f"{second.dataset} {second.protocol}."
        )
    others = {each.id: each for each in second.counted}
    both = [(each, others[each.id]) for each in first.counted if each.id in others]
    if not both:
        raise DataError(f"The measurements of {first.queries.encoder} and {second.queries.encoder} share no query.")
    mine, theirs = zip(
        *((each.average_precision or 0.0, other.average_precision or 0.0) for each, other in both), strict=True
    )
    return np.array(mine, np.float64), np.array(theirs, np.float64), [each.instance for each, _ in both]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
