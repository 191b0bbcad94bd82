"""The losses that a recipe can name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from askew_training.losses.contextual_similarity import ContextualSimilarityTable
from askew_training.losses.contrastive import ContrastiveTable
from askew_training.losses.contrastive_plus import ContrastivePlusTable
from askew_training.losses.d3still import D3stillTable
from askew_training.losses.dark_rank import DarkRankTable
from askew_training.losses.multi_similarity import MultiSimilarityTable
from askew_training.losses.prototype import PrototypeTable
from askew_training.losses.regression import RegressionTable
from askew_training.losses.relational import RelationalDistillationTable
from askew_training.losses.second_order import SecondOrderRegressionTable
from askew_training.losses.structure_similarity import StructureSimilarityTable
from askew_training.losses.triplet import TripletTable

AnyLossTable = Annotated[
    ContrastiveTable
    | ContrastivePlusTable
    | TripletTable
    | MultiSimilarityTable
    | PrototypeTable
    | RegressionTable
    | RelationalDistillationTable
    | DarkRankTable
    | D3stillTable
    | ContextualSimilarityTable
    | StructureSimilarityTable
    | SecondOrderRegressionTable,
    Field(discriminator="name"),
]
"""Any table `[[losses]]`, chosen by its `name`. A recipe that names another loss is refused with a list of these."""
