"""A batch of pixels of several shapes through the network, in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from askew_training.data.batches import Draw, PhotoPlan
from askew_training.errors import DataError
from askew_training.train.reader import LoadedBatch, PhotoReader

Describe = Callable[[LoadedBatch], Tensor]

PHOTOS_AT_ONCE = 32
"""Photos in a batch that is described without gradients."""

PIECE = 16
PIECE_STEP = 4
"""On a CPU, photos of one shape go through the network 16 at a time, the last piece filled up to 4, 8, 12 or 16: oneDNN
compiles its kernels anew for each size of a batch, and larger pieces are no faster."""


def describing(network: nn.Module, accelerator: Accelerator) -> Describe:
    """The function from a loaded batch to unit vectors, float32 [B, D], in the order of its photos."""
    on_cpu = accelerator.device.type == "cpu"

    def describe(batch: LoadedBatch) -> Tensor:
        vectors = []
        for pixels, _ in batch.groups:
            for piece in torch.split(pixels, PIECE if on_cpu else len(pixels)):
                filled = _filled_up(piece) if on_cpu else piece
                with accelerator.autocast():
                    vectors.append(network(filled.to(accelerator.device))[: len(piece)].float())
        order = torch.argsort(torch.cat([places for _, places in batch.groups]))
        return torch.cat(vectors)[order.to(accelerator.device)]

    return describe


def _filled_up(piece: Tensor) -> Tensor:
    """Repeat the last photo up to the next size that pieces have; what comes out for it is dropped."""
    missing = -len(piece) % PIECE_STEP
    return torch.cat([piece, piece[-1:].expand(missing, -1, -1, -1)]) if missing else piece


def described_photos(
    reader: PhotoReader, describe: Describe, shapes: Sequence[tuple[int, int]], photos: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Describe photos as they are, without gradients: float32 [n, D] in the order of `photos`, indices of the reader's;
    and bool [n], whether each could be read. The vector of one that could not is 0.

    `shapes`: of all of the reader's photos; batches have one shape each.
    """
    place = {photo: number for number, photo in enumerate(photos)}
    drawn = PhotoPlan([shapes[photo] for photo in photos], PHOTOS_AT_ONCE, seed=0).epoch(0)
    batches = [[Draw(photos[draw.photo], 0) for draw in batch] for batch in drawn]
    vectors: NDArray[np.float32] | None = None
    is_there = np.zeros(len(photos), dtype=np.bool_)
    for batch in reader.read(batches):
        if not len(batch.photos):
            continue
        with torch.inference_mode():
            described = describe(batch).float().cpu().numpy()
        if vectors is None:
            vectors = np.zeros((len(photos), described.shape[1]), dtype=np.float32)
        places = [place[photo] for photo in batch.photos.tolist()]
        vectors[places] = described
        is_there[places] = True
    if vectors is None:
        raise DataError(
            "None of the photos to describe could be read. Look at them with `askew check-photos --thorough`."
        )
    return vectors, is_there
