"""Layouts of files are recognised by what they hold; what is not recognised, damaged or dangerous is refused with a way on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision  # type: ignore[import-untyped]
from safetensors.torch import save_file
from torch import Tensor, nn

from askew_training.errors import WeightsError
from askew_training.networks.imported.importer import import_network
from askew_training.networks.imported.layouts import IMAGENET
from askew_training.networks.trunks import Trunk
from askew_training.networks.weights import trunk_with_weights
from tests.training.networks.imported.published_files import release, retrieval_network, save, whitening

SMALL = "test_efficientnet"


@pytest.fixture(scope="module")
def student() -> dict[str, Any]:
    return release(retrieval_network(SMALL, dim=16), "efficientnet_b3")


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    return timm.create_model(SMALL).state_dict()


def trunk_tensors(path: Path, trunk: str | None = None) -> dict[str, Tensor]:
    features = import_network(path, trunk).checkpoint.network.branches[0].trunk.features.state_dict()
    return {name: tensor for name, tensor in features.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "trunk", "layout", "left_out"),
    [
        (lambda: torchvision.models.resnet18(), "resnet18", "torchvision's layout", 2),
        (lambda: torchvision.models.resnext50_32x4d(), "resnext50_32x4d", "torchvision's layout", 2),
        (lambda: torchvision.models.mobilenet_v2(), "mobilenetv2_100", "torchvision's layout", 2),
        (lambda: torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [3, 4, 6, 3]), "resnet34", "torchvision", 2),
        (lambda: retrieval_network("resnet18").features, "resnet18", "features in cirtorch's layout (ResNet)", 0),
        (lambda: retrieval_network("vgg11").features, "vgg11", "features in cirtorch's layout (VGG)", 0),
    ],
)  # fmt: skip
def test_trunks_alone_get_gem(
    tmp_path: Path, build: Callable[[], nn.Module], trunk: str, layout: str, left_out: int
) -> None:
    network = build().eval()
    imported = import_network(save(tmp_path / "x.pth", network.state_dict()))
    checkpoint = imported.checkpoint
    assert (checkpoint.description.trunk, checkpoint.description.photo_size) == (trunk, 448)
    assert layout in imported.layout
    assert len(imported.left_out) == left_out
    assert "GeM p=3" in checkpoint.description.recipe
    photo = torch.rand(1, 3, 70, 96)
    with torch.inference_mode():
        whole = network if layout.startswith("features") else _features_of(network)
        torch.testing.assert_close(checkpoint.network.branches[0].trunk(photo), whole(photo), atol=1e-4, rtol=1e-3)
    mean = checkpoint.network.branches[0].normalise.mean.flatten().tolist()
    assert mean == pytest.approx(IMAGENET.mean)


def _features_of(network: nn.Module) -> nn.Module:
    children = list(network.children())
    return children[0] if isinstance(network, torchvision.models.MobileNetV2) else nn.Sequential(*children[:-2])


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("part", ["", "state_dict", "model"])
def test_wrapped_checkpoints_are_unwrapped(tmp_path: Path, small: dict[str, Tensor], prefix: str, part: str) -> None:
    tensors = {prefix + name: tensor for name, tensor in small.items()}
    path = save(tmp_path / "x.pth", {part: tensors, "epoch": 3} if part else tensors)
    read = trunk_tensors(path, SMALL)
    assert read
    assert all(torch.equal(tensor, small[name]) for name, tensor in read.items())


@pytest.mark.parametrize("is_legacy", [True, False])
def test_checkpoints_of_timms_train_script_are_read(tmp_path: Path, small: dict[str, Tensor], is_legacy: bool) -> None:
    averaged = {name: 2 * tensor if tensor.is_floating_point() else tensor for name, tensor in small.items()}
    content = {
        "epoch": 7, "arch": SMALL, "state_dict": small, "state_dict_ema": averaged, "version": 2,
        "args": argparse.Namespace(model=SMALL, lr=0.1, mean=(0.5, 0.5, 0.5), std=[0.25] * 3, output=Path("/runs/a"), opt_betas=None),
        "metric": np.float64(71.2), "optimizer": {"state": {}, "param_groups": []},
    }  # fmt: skip
    path = save(tmp_path / "last.pth.tar", content, is_legacy)
    imported = import_network(path)
    assert imported.layout == "a checkpoint of timm's train.py, its state_dict_ema"
    assert imported.checkpoint.description.trunk == SMALL
    assert imported.checkpoint.network.branches[0].normalise.std.flatten().tolist() == [63.75] * 3
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in trunk_tensors(path).items())
    last = import_network(path, averaged=False).checkpoint.network.branches[0].trunk.features.state_dict()
    assert torch.equal(last["conv_stem.weight"], small["conv_stem.weight"])
    # The same file is a source of weights for recipes and `askew whiten`.
    trunk = trunk_with_weights(SMALL, path)
    assert torch.equal(trunk.features.state_dict()["conv_stem.weight"], averaged["conv_stem.weight"])
    assert trunk.normalisation.mean == (127.5, 127.5, 127.5)


def drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda file: file["state_dict"].pop(name)


def put(**tensors: Tensor) -> Callable[[dict[str, Any]], object]:
    return lambda file: file["state_dict"].update({name.replace("__", "."): each for name, each in tensors.items()})


def say(**meta: object) -> Callable[[dict[str, Any]], object]:
    return lambda file: file["meta"].update(meta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("features.2.0.0.conv.weight"), r"1 tensors missing \(first: blocks.0.0.conv.weight\)"),
        (put(features__9__weight=torch.zeros(1)), r"1 tensors unknown \(first: features.9.weight\)"),
        (put(decoder__weight=torch.zeros(1)), r"1 tensors unknown \(first: decoder.weight\)"),
        (put(features__0__weight=torch.zeros(7, 3, 3, 3)), r"features.0.weight has the shape \[7, 3, 3, 3\], expected \[24, 3, 3, 3\]"),
        (put(features__0__weight=torch.full((24, 3, 3, 3), torch.nan)), "features.0.weight holds NaN"),
        (put(features__5__weight=torch.zeros(16, 7, 1, 1)), r"features.5.weight has the shape \[16, 7, 1, 1\], expected \[16, 256, 1, 1\]"),
        (put(features__5__weight=torch.zeros(16)), r"features.5.weight has the shape \[16\]"),
        (put(features__5__weight=torch.zeros(1).expand(10**9, 256, 1, 1)), "features.5.weight has the shape"),
        (put(features__0__weight=torch.zeros(24, 3, 3, 3).to_sparse()), "features.0.weight has numbers of the kind"),
        (put(features__0__weight=torch.zeros(24, 3, 3, 3, dtype=torch.int64)), "of the kind torch.int64, expected plain torch.float32"),
        (put(features__0__weight=torch.zeros(24, 3, 3, 3, device="meta")), "features.0.weight has numbers of the kind"),
        (drop("pool.p"), "has no tensor pool.p"),
        (put(pool__p=torch.tensor([-1.0])), "pool.p holds -1"),
        (put(pool__p=torch.ones(7)), r"pool.p has the shape \[7\]"),
        (put(pool__q=torch.ones(7)), "has pool.q, which the pooling gem has not. Expected pool.p"),
        (put(whiten__weight=torch.ones(16, 15), whiten__bias=torch.ones(16)), r"whiten.weight has the shape \[16, 15\], expected \[16, 16\]"),
        (put(whiten__weight=torch.ones(16, 16)), "has no tensor whiten.bias"),
        (put(lwhiten__weight=torch.ones(16, 16)), "before they are pooled"),
        (say(local_whitening=True), "before they are pooled"),
        (say(whitening=True), "has no tensor whiten.weight"),
        (say(pooling="netvlad"), "the pooling 'netvlad'. Expected one of gem"),
        (say(regional=True, pooling="mac"), "pools regions with 'mac'"),
        (say(mean=[0.4, 0.4]), "three numbers as `mean`"),
        (say(mean="abc"), "three numbers as `mean`"),
        (say(mean=torch.zeros(3, device="meta")), r"three numbers as `mean`, got a tensor \[3\]"),
        (say(std=torch.ones(3).to_sparse()), r"three numbers as `std`, got a tensor \[3\]"),
        (say(mean=None), "one of `mean` and `std`"),
        (say(pooling=torch.ones(3)), "states the pooling 'tensor"),
        (say(std=[0.1, 0.1, 0.0]), "three positive numbers as `std`"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_are_refused_by_tensor(
    tmp_path: Path, student: dict[str, Any], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    file = {part: dict(content) for part, content in student.items()}
    change(file)
    path = save(tmp_path / "x.pth", file)
    with pytest.raises(WeightsError, match=message):
        import_network(path, SMALL)


def test_other_architectures_and_layouts_are_named(
    tmp_path: Path, student: dict[str, Any], small: dict[str, Tensor]
) -> None:
    def refused(content: object, message: str, trunk: str | None = None) -> None:
        with pytest.raises(WeightsError, match=message):
            import_network(save(tmp_path / "x.pth", content), trunk)

    refused(
        {**student, "meta": {**student["meta"], "architecture": "densenet161"}},
        "architecture 'densenet161'. Expected one of resnet18",
    )
    refused(student["state_dict"], "of the kind timm's EfficientNet, but does not state which.*--trunk NAME")
    refused(student, "expected .* of askew_tiny|is not askew_tiny", "askew_tiny")
    refused(student, "Expected the name of a timm network, got 'resnet9000'", "resnet9000")
    refused(small, "not recognised, named like conv_stem.weight.*--trunk NAME")
    refused({"features.conv0.weight": torch.zeros(1), "pool.p": torch.ones(1)}, "named like conv0.weight")
    refused({"features.1.0.block.0.0.weight": torch.zeros(1)}, "EfficientNet or MobileNetV3 of torchvision")
    refused(whitening(4), "is a whitening and no network.*--method given --whitening")
    refused({"weight": torch.zeros(4, 4), "bias": torch.zeros(4)}, "is a whitening and no network")
    refused({"description": "{}", "tensors": {}}, "an Askew checkpoint already")
    others: list[object] = [[torch.zeros(1)], {}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {1: torch.zeros(1)}]
    for other in others:
        refused(other, "is not a state dict")
    for tensors, message in (({}, "is not a state dict"), ({"a": torch.zeros(1)}, "not recognised, named like a")):
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(WeightsError, match=message):
            import_network(tmp_path / "x.safetensors")


class Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def test_nothing_in_a_file_is_executed(tmp_path: Path, student: dict[str, Any]) -> None:
    marker = tmp_path / "ran"
    calls = {
        "posix.system": Calls(os.system, f"touch {marker}"),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w')"),
        "pathlib.Path.touch|getattr": Calls(Path.touch, marker),
        "Linear": nn.Linear(2, 2),
        "Calls": Calls(Calls, print),
    }
    for name, harm in calls.items():
        for content in ({**student, "optimizer": harm}, {**student, "args": argparse.Namespace(model=harm)}):
            for is_legacy in (True, False):
                path = save(tmp_path / "x.pth", content, is_legacy)
                with pytest.raises(WeightsError, match=f"refers to \\S*({name}).*nothing was executed.*torch.save"):
                    import_network(path, SMALL)
    assert not marker.exists()


def test_the_way_out_keeps_a_network_whose_file_has_other_objects(
    tmp_path: Path, student: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "FILE", {**student, "epoch": Calls(int, "3")})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as refusal:
        import_network(tmp_path / "FILE", SMALL)
    exec(str(refusal.value).partition("tensors.pth: ")[2].rstrip("."), {})
    assert import_network(tmp_path / "tensors.pth", SMALL).checkpoint.network.dim == 16


@pytest.mark.parametrize("is_legacy", [True, False])
def test_files_that_are_cut_are_refused(tmp_path: Path, student: dict[str, Any], is_legacy: bool) -> None:
    whole = save(tmp_path / "x.pth", student, is_legacy).read_bytes()
    for length in (0, 1, 2, 100, len(whole) // 3, len(whole) // 2, len(whole) - 1000, len(whole) - 1):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="not a torch file of plain tensors, or is cut off"):
            import_network(tmp_path / "x.pth", SMALL)
    with pytest.raises(WeightsError, match="cannot be read"):
        import_network(tmp_path / "missing.pth", SMALL)
    with pytest.raises(WeightsError, match="cannot be read"):
        import_network(tmp_path, SMALL)


def test_any_convolutional_network_of_timm_is_read_by_name(tmp_path: Path) -> None:
    name = "mobilenetv3_small_050"
    tensors = timm.create_model(name).state_dict()
    imported = import_network(save(tmp_path / "x.pth", tensors), name)
    assert {name.partition(".")[0] for name in imported.left_out} == {"conv_head", "classifier"}
    expected = Trunk(name).features.state_dict().keys()
    read = imported.checkpoint.network.branches[0].trunk.features.state_dict()
    assert read.keys() == expected
    assert torch.equal(read["conv_stem.weight"], tensors["conv_stem.weight"])
