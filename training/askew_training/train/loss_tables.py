"""The tables `[[losses]]` of a recipe: which losses there are, and what each of them takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Side = Literal["teacher", "student"]
"""Whose vectors an anchor is compared with: the teacher's (asymmetric), or those of the network itself (symmetric)."""


class _LossPart(BaseModel):
    """`weight`: of this loss in the sum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, gt=0)

    @property
    def side(self) -> Side | None:
        """Whose vectors the pairs of this loss are made with; None where it has no pairs."""
        return None


class _PairLossPart(_LossPart):
    references: Side

    @property
    def side(self) -> Side:
        return self.references


class ContrastivePart(_PairLossPart):
    """`losses.Contrastive`; the margin is a distance or a similarity, as `form` says."""

    name: Literal["contrastive"]
    form: Literal["euclidean", "similarity"] = "euclidean"
    margin: float | None = None


class ContrastivePlusPart(_LossPart):
    """`losses.ContrastivePlus`, asymmetric by nature; `own_weight`: of the teacher's vector of the anchor itself."""

    name: Literal["contrastive-plus"]
    form: Literal["euclidean", "similarity"] = "euclidean"
    margin: float | None = None
    own_weight: float = Field(default=1.0, ge=0)

    @property
    def side(self) -> Side:
        return "teacher"


class TripletPart(_PairLossPart):
    """`losses.Triplet`; the margin is of squared distances."""

    name: Literal["triplet"]
    margin: float = 0.7


class MultiSimilarityPart(_PairLossPart):
    """`losses.MultiSimilarity`."""

    name: Literal["multi-similarity"]
    alpha: float = Field(default=2.0, gt=0)
    beta: float = Field(default=40.0, gt=0)
    threshold: float = 0.5


class PrototypePart(_LossPart):
    """`losses.Prototype`, with the mean teacher vector of each instance."""

    name: Literal["prototype"]
    temperature: float = Field(default=0.1, gt=0)


class RegressionPart(_LossPart):
    """`losses.Regression`."""

    name: Literal["regression"]


class RelationalPart(_LossPart):
    """`losses.RelationalDistillation`."""

    name: Literal["relational-distillation"]
    distance_weight: float = Field(default=1.0, ge=0)
    angle_weight: float = Field(default=2.0, ge=0)


class DarkRankPart(_LossPart):
    """`losses.DarkRank`."""

    name: Literal["dark-rank"]
    alpha: float = Field(default=3.0, gt=0)
    beta: float = Field(default=3.0, gt=0)
    length: int = Field(default=4, ge=2, le=8)
    variant: Literal["hard", "soft"] = "hard"


class D3stillPart(_LossPart):
    """`losses.D3still`."""

    name: Literal["d3still"]
    neighbours: int = Field(default=10, ge=3)
    alpha: float = Field(default=100.0, ge=0)
    beta: float = Field(default=5.0, ge=0)
    gamma: float = Field(default=1.0, ge=0)


class ContextualPart(_LossPart):
    """`losses.ContextualSimilarity`; `among`: whether the neighbours of a photo are looked for in its batch, or among
    the teacher's vectors of all training photos. `neighbours`: how many; all of a batch unless told."""

    name: Literal["contextual-similarity"]
    among: Literal["batch", "all"] = "batch"
    neighbours: int | None = Field(default=None, ge=2)
    teacher_temperature: float = Field(default=0.01, gt=0)
    student_temperature: float = Field(default=1.0, gt=0)


class StructurePart(_LossPart):
    """`losses.StructureSimilarity`, on centroids learned from the teacher's vectors of the training photos."""

    name: Literal["structure-similarity"]
    subspaces: int = Field(default=32, ge=1)
    bits: int = Field(default=8, ge=2, le=12)
    sharpness: float = Field(default=10.0, gt=0)


class SecondOrderPart(_LossPart):
    """`losses.SecondOrderRegression`."""

    name: Literal["second-order-regression"]
    cross_weight: float = Field(default=0.75, ge=0)
    student_weight: float = Field(default=0.68, ge=0)


LossPart = Annotated[
    ContrastivePart
    | ContrastivePlusPart
    | TripletPart
    | MultiSimilarityPart
    | PrototypePart
    | RegressionPart
    | RelationalPart
    | DarkRankPart
    | D3stillPart
    | ContextualPart
    | StructurePart
    | SecondOrderPart,
    Field(discriminator="name"),
]
