"""The vectors that a network pools, before its linear layer: what a head is learned from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from askew_training.errors import DataError
from askew_training.export.encoder_file import EncoderCard, write_encoder
from askew_training.networks.checkpoint import Checkpoint, Description, branches_of
from askew_training.networks.network import Network, ScaleMean
from askew_training.vectors.descriptor_cache import DescriptorCache, Descriptors


def describe_pooled(
    network: Network, photo_size: int, paths: Sequence[Path], cache: Path, on_photo: Callable[[], None]
) -> Descriptors[Path]:
    """Describe photos by the network's pooled vectors at its own scales: float32 [C] by path, unit length, averaged over
    the scales before the linear layer.

    The network without its linear layer is exported and run like any encoder. This is several times faster than torch
    on a CPU, and keeps the vectors in the folder `cache`, so that learning another head from them takes seconds. Raises
    DataError if no photo can be described.
    """
    mean = ScaleMean(exponent=network.scale_mean.exponent)
    bare = Network(network.branches, None, network.scales, mean).eval()
    if not paths:
        raise DataError("Expected photos to describe, but the list is empty.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pooled.onnx"
        # Not simplified: it is used once, and the digest by which the cache names its vectors stays the same.
        write_encoder(_checkpoint(bare, photo_size), _card(bare, photo_size), file, simplified=False)
        described = DescriptorCache(cache, file).describe(paths, on_photo)
    if not described.vectors:
        raise DataError(
            f"None of {len(paths)} photos can be described. The first: {next(iter(described.unreadable.values()))}"
        )
    return described


def _checkpoint(network: Network, photo_size: int) -> Checkpoint:
    description = Description(
        branches=branches_of(network),
        dim=None,
        photo_size=photo_size,
        scales=network.scales,
        scale_mean=network.scale_mean,
        recipe="pooled vectors",
        data=(),
    )
    return Checkpoint(network, description)


def _card(network: Network, photo_size: int) -> EncoderCard:
    return EncoderCard(
        name="pooled",
        version="0",
        role="teacher",
        photo_size=photo_size,
        scales=network.scales,
        precision="fp32",
        # Part of the file's digest, by which the cache names its vectors: do not change it.
        licence="for this machine only",
        metrics={},
    )
