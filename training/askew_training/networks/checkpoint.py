"""A network and where it came from, as one file that torch reads without executing anything in it."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from askew_client.contract.space import SpaceId, space_id
from askew_client.files import write_atomically
from askew_training.errors import CheckpointError
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk

_ONLY_BRANCH = "branches.0"


class PhotoSource(BaseModel):
    """One set of photos that a network learned from: its name, its owners' licence, photos used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    photos: int = Field(ge=0)


def merged_sources(*sets: Sequence[PhotoSource]) -> tuple[PhotoSource, ...]:
    """All sets of photos that a network has learned from, in all parts; of one that comes twice, the larger number."""
    by_name = {source.name: source for source in sorted(chain(*sets), key=lambda source: source.photos)}
    return tuple(by_name[name] for name in sorted(by_name))


class BranchDescription(BaseModel):
    """What is needed to build one branch again: its timm trunk, the width of its projection, None without, its pooling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trunk: str
    projection: int | None = Field(default=None, ge=1)
    pooling: PoolingName = "gem"

    def __str__(self) -> str:
        features = self.trunk if self.projection is None else f"{self.trunk} → {self.projection}"
        return features if self.pooling == "gem" else f"{features} ({self.pooling})"


class Description(BaseModel):
    """What is needed to build the network again, and what its manifest will say about it.

    `branches`: one, or several side by side. `dim`: components after the linear layer, None without one. `photo_size`, `scales`: what it was made for.
    `teacher_space`: the space that a student was distilled into; None for a network that defines its own.
    `derived_from`: the space of the network that this one's was made from, by another whitening or by truncation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2] = 2
    branches: tuple[BranchDescription, ...] = Field(min_length=1)
    dim: int | None = Field(ge=1)
    photo_size: int = Field(ge=96)
    scales: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=1)
    recipe: str
    data: tuple[PhotoSource, ...]
    teacher_space: SpaceId | None = None
    derived_from: SpaceId | None = None

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


def space_of(network: Network) -> str:
    """Name the space that a network defines as a teacher: `sp1-` and 32 hex digits.

    From its un-folded float32 tensors, input normalisation and GeM's exponent included, and from the name and
    the constants of its pooling; the counters that batch normalisation keeps are left out. A network of one branch
    names its tensors without the branch, and one whose branches pool alike names their pooling once.
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
    """Write a checkpoint; a file that is there already is replaced only by a whole new one."""
    buffer = io.BytesIO()
    content = {
        "description": checkpoint.description.model_dump_json(),
        "tensors": checkpoint.network.state_dict(),
    }
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; the network is in eval mode. Raises CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        description = _description(content["description"])
        tensors = content["tensors"]
    except OSError as error:
        raise CheckpointError(f"Expected a checkpoint, but {path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CheckpointError(f"{path} has a description that does not hold together: {first['msg']}.") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
    ):
        raise CheckpointError(
            f"{path} is no Askew checkpoint. Expected a file made by `askew whiten`, `distil` or `train`."
        ) from None
    network = network_of(description)
    try:
        network.load_state_dict(_current_names(tensors, network))
    except (RuntimeError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path} does not hold together: its tensors do not fit a {description.trunk} of {network.dim} dimensions."
        ) from None
    return Checkpoint(network.eval(), description)


def network_of(description: Description) -> Network:
    """Build a network as described, with random weights, in training mode. Raises WeightsError."""
    branches = [Branch(Trunk(branch.trunk), branch.projection, branch.pooling) for branch in description.branches]
    channels = sum(branch.channels for branch in branches)
    linear = None if description.dim is None else nn.Linear(channels, description.dim)
    return Network(branches, linear, description.scales)


def branches_of(network: Network) -> tuple[BranchDescription, ...]:
    """Describe the branches of a network, as `network_of` builds them again."""
    return tuple(
        BranchDescription(
            trunk=branch.trunk.name,
            projection=None if branch.projection is None else branch.channels,
            pooling=branch.pooling,
        )
        for branch in network.branches
    )


def _description(text: str) -> Description:
    """Read a description; version 1 knew one trunk without projection."""
    fields = json.loads(text)
    if fields.get("format_version") == 1:
        fields["branches"] = [{"trunk": fields.pop("trunk")}]
        fields["format_version"] = 2
    return Description.model_validate(fields)


def _current_names(tensors: Mapping[str, Tensor], network: Network) -> Mapping[str, Tensor]:
    """Name the tensors of a version 1 file as today; it kept layers of a trunk's head that nothing used."""
    if "pool.p" not in tensors:
        return tensors
    own = network.state_dict()
    renamed = {
        name if name.startswith("linear.") else f"{_ONLY_BRANCH}.{name}": tensor for name, tensor in tensors.items()
    }
    return {name: tensor for name, tensor in renamed.items() if name in own}
