"""Running the network on batches of pixels of several shapes, in the precision of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from askew_training.data.batches import Draw, PhotoPlan
from askew_training.errors import DataError
from askew_training.networks.transfer import put
from askew_training.train.reader import LoadedBatch, PhotoReader

Describe = Callable[[LoadedBatch], Tensor]
"""From a loaded batch to unit vectors, float32 [B, D], in the order of its photos."""

Autocast = Callable[[], AbstractContextManager[object]]
"""Enters the precision that convolutions are computed in."""

full_precision: Autocast = nullcontext
"""Convolutions in the precision of their weights."""

PHOTOS_AT_ONCE = 32
"""Photos in a batch that is described without gradients."""

PIECE = 16
PIECE_STEP = 4
"""On a CPU, at most 16 photos of one shape go through the network at a time, the last ones filled up to 4, 8, 12 or 16:
oneDNN compiles its kernels again for each new batch size, and larger pieces are not faster."""


def make_describe(
    network: nn.Module, accelerator: Accelerator, whole: int = PHOTOS_AT_ONCE, whole_groups: bool = False
) -> Describe:
    """Make the function that describes loaded batches with a network. `whole`, `whole_groups`: as for `describe_with`."""
    return describe_with(network, accelerator.device, accelerator.autocast, whole, whole_groups)


def describe_with(
    network: nn.Module,
    device: torch.device,
    autocast: Autocast,
    whole: int = PHOTOS_AT_ONCE,
    whole_groups: bool = False,
) -> Describe:
    """Make the function that describes loaded batches with a network on a device.

    `whole`: the photos in a full batch of training. `whole_groups`: all photos of one shape go through the network together,
    and no photo is repeated: the network learns the statistics of what it sees.
    """
    on_cpu = device.type == "cpu"
    # A GPU prepares its convolutions anew for every number of photos, so it gets only these two.
    allowed = sorted({whole, PHOTOS_AT_ONCE})

    def pieces(pixels: Tensor) -> Iterator[tuple[Tensor, int]]:
        if whole_groups:
            yield pixels, len(pixels)
            return
        for piece in torch.split(pixels, PIECE if on_cpu else allowed[-1]):
            yield _fill_up(piece, _next_multiple(len(piece)) if on_cpu else _smallest(allowed, len(piece))), len(piece)

    def describe(batch: LoadedBatch) -> Tensor:
        vectors: list[Tensor] = []
        for pixels, _ in batch.groups:
            for piece, count in pieces(pixels):
                with autocast():
                    vectors.append(network(put(piece, device))[:count].float())
        if len(vectors) == 1:
            return vectors[0]
        order = torch.argsort(torch.cat([places for _, places in batch.groups]))
        return torch.cat(vectors)[put(order, device)]

    return describe


def _next_multiple(count: int) -> int:
    return count + -count % PIECE_STEP


def _smallest(allowed: Sequence[int], count: int) -> int:
    """The smallest allowed number of photos that is not below `count`."""
    return next(each for each in allowed if each >= count)


def _fill_up(piece: Tensor, count: int) -> Tensor:
    """Repeat the last photo until there are `count`; the vectors of the copies are dropped."""
    missing = count - len(piece)
    return torch.cat([piece, piece[-1:].expand(missing, -1, -1, -1)]) if missing else piece


def describe_without_gradients(
    reader: PhotoReader, describe: Describe, shapes: Sequence[tuple[int, int]], photos: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Describe photos, not augmented and without gradients.

    `photos`: indices of the reader's photos. `shapes`: of all of the reader's photos; each batch has one shape. Returns
    the vectors in the order of `photos`, float32 [n, D], and whether each photo could be read, bool [n]; the vector of a
    photo that could not be read is 0. Raises DataError if none could be read.
    """
    place = {photo: number for number, photo in enumerate(photos)}
    drawn = PhotoPlan([shapes[photo] for photo in photos], PHOTOS_AT_ONCE, seed=0).epoch(0)
    batches = [[Draw(photos[draw.photo], 0) for draw in batch] for batch in drawn]
    vectors: NDArray[np.float32] | None = None
    was_read = np.zeros(len(photos), dtype=np.bool_)
    for batch in reader.read(batches):
        if not len(batch.photos):
            continue
        with torch.inference_mode():
            described = describe(batch).float().cpu().numpy()
        if vectors is None:
            vectors = np.zeros((len(photos), described.shape[1]), dtype=np.float32)
        places = [place[photo] for photo in batch.photos.tolist()]
        vectors[places] = described
        was_read[places] = True
    if vectors is None:
        raise DataError("None of the photos to describe could be read. Check them: `askew check-photos --thorough`.")
    return vectors, was_read
