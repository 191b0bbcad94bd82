"""A network and where it came from, as one file that torch reads without executing anything in it."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from askew_client.contract.space import SpaceId, space_id
from askew_client.files import write_atomically
from askew_training.errors import CheckpointError
from askew_training.networks.network import Network
from askew_training.networks.trunks import Trunk


class PhotoSource(BaseModel):
    """One set of photos that a network learned from: its name, its owners' licence, photos used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    photos: int = Field(ge=0)


class Description(BaseModel):
    """What is needed to build the network again, and what its manifest will say about it.

    `dim`: components after the linear layer, None without one. `photo_size`, `scales`: what it was made for.
    `teacher_space`: the space that a student was distilled into; None for a network that defines its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    trunk: str
    dim: int | None = Field(ge=1)
    photo_size: int = Field(ge=96)
    scales: tuple[float, ...] = Field(min_length=1)
    recipe: str
    data: tuple[PhotoSource, ...]
    teacher_space: SpaceId | None = None


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

    From its un-folded float32 tensors, input normalisation and GeM's exponent included; the counters that
    batch normalisation keeps are left out.
    """
    tensors: dict[str, NDArray[np.float32]] = {
        name: tensor.detach().cpu().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return space_id(
        dim=network.dim,
        pooling={"name": "gem", "eps": network.pool.eps},
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
        description = Description.model_validate_json(content["description"])
        tensors = content["tensors"]
    except OSError as error:
        raise CheckpointError(f"Expected a checkpoint, but {path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CheckpointError(f"{path} has a description that does not hold together: {first['msg']}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, IndexError):
        raise CheckpointError(f"{path} is no Askew checkpoint. Expected a file made by `askew whiten`.") from None
    network = network_of(description)
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, TypeError, AttributeError):
        raise CheckpointError(
            f"{path} does not hold together: its tensors do not fit a {description.trunk} of {network.dim} dimensions."
        ) from None
    return Checkpoint(network.eval(), description)


def network_of(description: Description) -> Network:
    """Build a network as described, with random weights."""
    trunk = Trunk(description.trunk)
    linear = None if description.dim is None else nn.Linear(trunk.channels, description.dim)
    return Network(trunk, linear, description.scales)
