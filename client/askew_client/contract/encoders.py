"""Wire models of encoders: descriptions, the gate's report, probes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from askew_client.contract.manifest import EncoderName
from askew_client.contract.shown import Listed, ShortRepr
from askew_client.contract.space import SpaceId

Runtime = Literal["web", "ios", "android", "python"]
"""What runs an encoder on a device."""

HIGHEST_OPSETS: dict[Runtime, int] = {"web": 18, "ios": 18, "android": 18, "python": 21}
"""The highest ONNX opset of each runtime, by ONNX Runtime's compatibility table: 1.14 on phones, 1.20 in Python."""


class ScoreDistribution(ShortRepr):
    """Scores measured at admission, as 101 rising percentiles from 0 to 100 %."""

    count: int
    percentiles: list[float] = Field(min_length=101, max_length=101)


class AdmissionReport(ShortRepr):
    """The gate's findings: how well an encoder's vectors align with the teacher's in a gallery's space.

    `probes`: how many photos it described; `probes_from`: the gallery's probe set, or photos of its items.
    `mean_cosine`: between its vectors and the teacher's vectors of the same photos. `mean_cosine_others`: with the
    teacher's vectors of the other probes. `self_recall_at_1`: the share of probes that find themselves first.
    `recall_at_1`, `recall_at_10`: of the first 1 or 10 items that the teacher's vector of a probe finds, the share that
    this encoder's vector finds too; the probe itself is left out; absent if the gallery has no more items than that.
    `compared_items`: the number of items; `exact`: whether the index that found them is exact. `matches`: scores with
    the teacher's vector of the same photo; `false_matches`: the best score of any other item. `milliseconds_per_photo`:
    on the server, in one process at low priority.
    """

    gallery: str
    encoder: str
    sha256: str
    admitted: bool
    reasons: list[str]
    space: SpaceId | None = None
    size: int | None = None
    opset: int | None = None
    probes: int = 0
    probes_from: Literal["probes", "items"] | None = None
    golden: dict[str, float] = Field(default_factory=dict)
    mean_cosine: float | None = None
    mean_cosine_others: float | None = None
    self_recall_at_1: float | None = None
    recall_at_1: float | None = None
    recall_at_10: float | None = None
    compared_items: int | None = None
    exact: bool | None = None
    floors: dict[str, float] = Field(default_factory=dict)
    milliseconds_per_photo: float | None = None
    matches: ScoreDistribution | None = None
    false_matches: ScoreDistribution | None = None


class EncoderDescription(ShortRepr):
    """An encoder that a gallery admitted, or its teacher. `default_for`: the runtimes whose default it is."""

    id: str
    name: EncoderName
    version: str
    role: Literal["teacher", "student"]
    space: SpaceId
    dim: int
    photo_size: int
    precision: str
    sha256: str
    size: int
    galleries: list[str]
    admitted_at: str
    default_for: list[Runtime] = Field(default_factory=list)
    report: AdmissionReport | None = None


class EncoderList(Listed[EncoderDescription]):
    """All encoders on a server, newest first."""

    encoders: list[EncoderDescription]

    def _entries(self) -> list[EncoderDescription]:
        return self.encoders


class DefaultEncoderRequest(BaseModel):
    """The JSON body of `PUT …/encoders/{id}/default`: the runtime whose default the encoder becomes."""

    model_config = ConfigDict(extra="forbid")

    runtime: Runtime


class Probe(BaseModel):
    """A photo with the teacher's vector, which the gate shows to every candidate. It is not an item of the gallery."""

    id: str
    photo_sha256: str
    added_at: str


class ProbeList(Listed[Probe]):
    """The probe set of a gallery, by id. Until it has `needed` probes, the gate uses photos of items instead."""

    probes: list[Probe]
    needed: int

    def _entries(self) -> list[Probe]:
        return self.probes


class ProbeRemoved(BaseModel):
    """The id of the probe that was removed."""

    deleted: str
