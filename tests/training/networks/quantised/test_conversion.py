"""Networks whose convolutions multiply bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from askew_training.errors import CheckpointError, WeightsError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from askew_training.networks.quantised.conversion import quantised
from askew_training.networks.quantised.layers import WEIGHT_LEVELS, ByteConvolution
from tests.support.quantised_networks import float_network, pictures, quantised_checkpoint, rounded
from tests.support.training_helpers import tiny_network


def test_vectors_stay_near_and_the_given_network_as_it_was() -> None:
    network = float_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    photos = pictures(first=100)
    with torch.inference_mode():
        expected, actual = network(photos), rounded(network)(photos)
    cosines = (expected * actual).sum(-1)
    # 1 would mean that nothing was rounded.
    assert 0.999 < float(cosines.min()) < 1 - 1e-7
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_whole_numbers_give_what_training_learns() -> None:
    network, photos = rounded(float_network()), pictures(first=100)
    with torch.inference_mode():
        whole, learned = network.eval()(photos), network.train()(photos)
    assert float((whole * learned).sum(-1).min()) > 0.9999


def test_no_weight_is_so_large_that_a_processor_without_vnni_cuts_off_sums() -> None:
    codes = [each.codes() for each in rounded(float_network()).modules() if isinstance(each, ByteConvolution)]
    assert max(int(each.abs().max()) for each in codes) == WEIGHT_LEVELS
    assert 2 * 255 * WEIGHT_LEVELS < 2**15


@pytest.mark.parametrize("trunk", ["askew_tiny", "tf_mobilenetv3_small_minimal_100", "efficientnet_b0"])
def test_a_trunk_with_other_layers_is_refused(trunk: str) -> None:
    with pytest.raises(WeightsError, match=r"expected a trunk of convolutions and ReLUs alone.*--precision int8"):
        quantised(tiny_network(trunk=trunk))


def test_a_checkpoint_gives_the_same_vectors_and_is_read_only_for_export(tmp_path: Path) -> None:
    checkpoint, path = quantised_checkpoint(), tmp_path / "student.pt"
    save_checkpoint(path, checkpoint)
    read = load_checkpoint(path, quantised_too=True)
    with torch.inference_mode():
        assert torch.equal(read.network(pictures()), checkpoint.network.eval()(pictures()))
    assert read.space_id == checkpoint.space_id
    with pytest.raises(CheckpointError, match="made by `askew quantise` and can only be exported"):
        load_checkpoint(path)
    # A float checkpoint is what it was.
    save_checkpoint(
        path, replace(checkpoint, description=checkpoint.description.model_copy(update={"arithmetic": "float32"}))
    )
    with pytest.raises(CheckpointError, match="inconsistent"):
        load_checkpoint(path)
