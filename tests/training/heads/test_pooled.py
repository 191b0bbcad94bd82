"""What a head is learned from: the vectors before the linear layer, averaged over the scales as the network does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from askew_client.encoding.photos import read_photo
from askew_training.export.shrinking import shrink
from askew_training.heads.pooled import describe_pooled
from askew_training.networks.network import THREE_SCALES, Network, ScaleMean
from tests.support.training_helpers import tiny_network


@pytest.mark.parametrize("mean", [ScaleMean(), ScaleMean(exponent=1.0), ScaleMean(exponent=12.0)], ids=str)
def test_pooled_vectors_are_those_of_the_network(mean: ScaleMean, photos: list[Path], tmp_path: Path) -> None:
    tiny = tiny_network(scales=THREE_SCALES)
    network = Network(tiny.branches, tiny.linear, THREE_SCALES, mean).eval()
    described = describe_pooled(network, 128, photos[:2], tmp_path / "vectors", lambda: None)
    for path in photos[:2]:
        with torch.inference_mode():
            pixels = torch.from_numpy(shrink(read_photo(path), 128))
            expected = network.pooled(pixels[None])[0].numpy()
        np.testing.assert_allclose(described.vectors[path], expected, atol=2e-5)
