"""The teacher as a network that describes views while a student is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from askew_client import Encoder
from askew_training.data.parallel import map_in_threads
from askew_training.networks.checkpoint import Checkpoint, load_checkpoint
from askew_training.networks.imported.importer import import_network
from askew_training.train.forward import PHOTOS_AT_ONCE, Autocast, describe_with
from askew_training.train.matching.views import resized
from askew_training.train.reader import LoadedBatch
from askew_training.vectors.description import open_encoder

DescribeViews = Callable[[LoadedBatch], Tensor]
"""From a batch to the teacher's vectors, float32 [B, D], without gradients, in the order of its photos."""


class ViewTeacher(Protocol):
    """A network that can describe views.

    `space_id`: of its vectors, of `dim` components. `photo_size`: the longest side of the views that it sees, px. `sha256`: of its file.
    """

    @property
    def space_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def photo_size(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    def on(
        self, device: torch.device, read_size: int, autocast: Autocast, in_batch: int = PHOTOS_AT_ONCE
    ) -> DescribeViews:
        """The function that describes views that were read at a longest side of `read_size` px.

        `in_batch`: the views in a full batch, which a GPU describes at once.
        """
        ...


@dataclass(frozen=True)
class NetworkTeacher:
    """A checkpoint, which runs where the student runs."""

    checkpoint: Checkpoint
    sha256: str
    view_size: int | None = None

    @property
    def space_id(self) -> str:
        return self.checkpoint.space_id

    @property
    def dim(self) -> int:
        return self.checkpoint.network.dim

    @property
    def photo_size(self) -> int:
        return self.view_size or self.checkpoint.description.photo_size

    def on(
        self, device: torch.device, read_size: int, autocast: Autocast, in_batch: int = PHOTOS_AT_ONCE
    ) -> DescribeViews:
        network = self.checkpoint.network.eval().requires_grad_(False)
        network = network.to(device).to(memory_format=torch.channels_last)
        describe = describe_with(network, device, autocast, in_batch)

        @torch.no_grad()
        def describe_views(loaded: LoadedBatch) -> Tensor:
            return describe(resized(loaded, self.photo_size / read_size, device))

        return describe_views


@dataclass(frozen=True)
class EncoderTeacher:
    """An encoder file, which ONNX Runtime runs, one view on each core at a time."""

    encoder: Encoder
    view_size: int | None = None

    @property
    def space_id(self) -> str:
        return self.encoder.manifest.space_id

    @property
    def dim(self) -> int:
        return self.encoder.manifest.dim

    @property
    def photo_size(self) -> int:
        return min(self.view_size or self.encoder.manifest.photo_size, self.encoder.manifest.photo_size)

    @property
    def sha256(self) -> str:
        return self.encoder.file.sha256

    def on(
        self, device: torch.device, read_size: int, autocast: Autocast, in_batch: int = PHOTOS_AT_ONCE
    ) -> DescribeViews:

        def describe_views(read: LoadedBatch) -> Tensor:
            loaded = resized(read, self.photo_size / read_size, torch.device("cpu"))
            views = [view.numpy() for pixels, _ in loaded.groups for view in pixels]
            order = torch.argsort(torch.cat([places for _, places in loaded.groups]))
            vectors = np.stack(list(map_in_threads(self.encoder.encode_pixels, views)))
            return torch.from_numpy(vectors)[order].to(device)

        return describe_views


def open_teacher(file: Path, whole_size: int | None = None, view_size: int | None = None) -> ViewTeacher:
    """Open a teacher: an encoder file, a checkpoint, or a published network, which is imported without its whitening.

    `whole_size`: the longest side at which a checkpoint sees whole photos, and `view_size`: at which it sees views, both in
    place of its own. Raises CheckpointError, WeightsError, or what Encoder raises.
    """
    if file.suffix == ".onnx":
        return EncoderTeacher(open_encoder(file), view_size)
    checkpoint = load_checkpoint(file) if file.suffix == ".pt" else import_network(file).checkpoint
    if whole_size is not None:
        description = checkpoint.description.model_copy(update={"photo_size": whole_size})
        checkpoint = Checkpoint(checkpoint.network, description)
    with file.open("rb") as stream:
        return NetworkTeacher(checkpoint, hashlib.file_digest(stream, "sha256").hexdigest(), view_size)
