"""A network and where it came from, as one file that torch reads without executing anything in it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from askew_client.contract.space import SpaceId, space_id
from askew_client.files import write_atomically
from askew_training.data.licences import PhotoSource
from askew_training.errors import CheckpointError
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network, ScaleMean
from askew_training.networks.quantised.conversion import quantised
from askew_training.networks.torch_file import DAMAGED
from askew_training.networks.trunks import Trunk

_ONLY_BRANCH = "branches.0"


class BranchDescription(BaseModel):
    """What is needed to rebuild one branch: its timm trunk, the width of its projection (None without), its pooling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trunk: str
    projection: int | None = Field(default=None, ge=1)
    pooling: PoolingName = "gem"

    def __str__(self) -> str:
        features = self.trunk if self.projection is None else f"{self.trunk} → {self.projection}"
        return features if self.pooling == "gem" else f"{features} ({self.pooling})"


class Description(BaseModel):
    """What is needed to rebuild the network, and what its manifest will say about it.

    `branches`: one, or several side by side. `dim`: components after the linear layer, None without one. `photo_size`,
    `scales`, `scale_mean`: what the encoder will use. `recipe`: how the network was made, for a person. `data`: the
    photos that it learned from. `teacher_space`: the space that a student was distilled into; None for a network that
    defines its own. `derived_from`: the space of the network that this one was made from by another whitening or by
    truncation. `arithmetic`: what convolutions multiply, float32 or, in a network of `askew quantise`, bytes. `recipe_texts`: the recipes that it was trained by, as they were written, the first one first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2] = 2
    branches: tuple[BranchDescription, ...] = Field(min_length=1)
    dim: int | None = Field(ge=1)
    photo_size: int = Field(ge=96)
    scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=1)
    scale_mean: ScaleMean = ScaleMean()
    recipe: str
    data: tuple[PhotoSource, ...]
    teacher_space: SpaceId | None = None
    derived_from: SpaceId | None = None
    arithmetic: Literal["float32", "int8"] = "float32"
    recipe_texts: tuple[str, ...] = ()

    @property
    def trunk(self) -> str:
        """The branches in words, for a manifest: `resnet101`, `tf_efficientnet_b3 → 2048`, `vgg16 (mac) + resnet50`."""
        return " + ".join(map(str, self.branches))


@dataclass(frozen=True)
class Checkpoint:
    """A network in eval mode and its description."""

    network: Network
    description: Description

    @property
    def space_id(self) -> str:
        """The space that the network describes in: its teacher's, or the one that it defines itself."""
        return self.description.teacher_space or space_of(self.network)

    def content(self) -> dict[str, Any]:
        """What the file of a checkpoint holds, as torch.save takes it."""
        return {"description": self.description.model_dump_json(), "tensors": self.network.state_dict()}


def space_of(network: Network) -> str:
    """Compute the id of the space that a network defines as a teacher: `sp1-` and 32 hex digits.

    It depends on the un-folded float32 tensors, input normalisation and GeM's exponent included, and on the name and
    the constants of the pooling, but not on the counters that batch normalisation keeps. The tensors of a network with
    one branch are named without the branch, and a pooling that all branches share is named once.
    """
    prefix = f"{_ONLY_BRANCH}." if len(network.branches) == 1 else ""
    tensors: dict[str, NDArray[np.float32]] = {
        name.removeprefix(prefix): tensor.detach().cpu().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    poolings = [{"name": branch.pooling, **branch.pool.constants()} for branch in network.branches]
    return space_id(
        dim=network.dim,
        pooling=poolings[0] if all(each == poolings[0] for each in poolings) else {"branches": poolings},
        whitened=network.linear is not None,
        tensors=tensors,
    )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically. Raises CheckpointError for weights that are not finite, and if it cannot be written."""
    broken = _not_finite(checkpoint.network.state_dict())
    if broken is not None:
        raise CheckpointError(
            f"{path} was not written: the weights {broken} hold NaN or infinite values. Expected finite numbers; look at what the "
            "network was made from."
        )
    buffer = io.BytesIO()
    torch.save(checkpoint.content(), buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}. Nothing was written.") from None


def load_checkpoint(path: Path, *, quantised_too: bool = False) -> Checkpoint:
    """Read a checkpoint; the network is in eval mode.

    `quantised_too`: whether one whose convolutions multiply bytes may be read, which can be exported and no longer
    trained. Raises CheckpointError, also for weights that are not finite.
    """
    try:
        # Read here: torch reports a file that is cut off as an OSError, too.
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        description = _read_description(content["description"])
        tensors = content["tensors"]
    except OSError as error:
        raise CheckpointError(f"Expected a checkpoint, but {path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CheckpointError(
            f"{path} has an inconsistent description: {first['msg']}. Make the checkpoint again."
        ) from None
    except DAMAGED:
        raise CheckpointError(
            f"{path} is not an Askew checkpoint. Expected a file made by `askew whiten`, `distil`, `train` or "
            "`import-checkpoint`, which reads published networks and encoder files."
        ) from None
    if description.arithmetic != "float32" and not quantised_too:
        raise CheckpointError(
            f"{path} was made by `askew quantise` and can only be exported. Expected the checkpoint that it was made from."
        )
    network = network_of(description)
    try:
        network.load_state_dict(_current_names(tensors, network))
    except (RuntimeError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path} is inconsistent: its tensors do not fit a {description.trunk} of {network.dim} dimensions. Make "
            "the checkpoint again."
        ) from None
    broken = _not_finite(network.state_dict())
    if broken is not None:
        raise CheckpointError(
            f"{path} holds NaN or infinite values in {broken}. Expected finite weights: make the checkpoint again."
        )
    return Checkpoint(network.eval(), description)


def network_of(description: Description) -> Network:
    """Build the described network with random weights, in training mode. Raises WeightsError."""
    branches = [Branch(Trunk(branch.trunk), branch.projection, branch.pooling) for branch in description.branches]
    channels = sum(branch.channels for branch in branches)
    linear = None if description.dim is None else nn.Linear(channels, description.dim)
    network = Network(branches, linear, description.scales, description.scale_mean)
    return network if description.arithmetic == "float32" else quantised(network)


def branches_of(network: Network) -> tuple[BranchDescription, ...]:
    """Describe the branches of a network, so that `network_of` can rebuild them."""
    return tuple(
        BranchDescription(
            trunk=branch.trunk.name,
            projection=None if branch.projection is None else branch.channels,
            pooling=branch.pooling,
        )
        for branch in network.branches
    )


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with NaN or infinite values, if there is one."""
    return next(
        (name for name, each in tensors.items() if each.is_floating_point() and not bool(torch.isfinite(each).all())),
        None,
    )


def _read_description(text: str) -> Description:
    """Read a description; version 1 had a single trunk without projection."""
    fields = json.loads(text)
    if fields.get("format_version") == 1:
        fields["branches"] = [{"trunk": fields.pop("trunk")}]
        fields["format_version"] = 2
    return Description.model_validate(fields)


def _current_names(tensors: Mapping[str, Tensor], network: Network) -> Mapping[str, Tensor]:
    """Rename the tensors of a version 1 file; it also has layers of a trunk's head that were never used."""
    if "pool.p" not in tensors:
        return tensors
    own = network.state_dict()
    renamed = {
        name if name.startswith("linear.") else f"{_ONLY_BRANCH}.{name}": tensor for name, tensor in tensors.items()
    }
    return {name: tensor for name, tensor in renamed.items() if name in own}
