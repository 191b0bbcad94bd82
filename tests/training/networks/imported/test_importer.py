"""Published networks describe photos as their own code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from askew_training.networks.imported.importer import import_network
from askew_training.networks.network import Network, ScaleMean
from tests.support.training_helpers import picture
from tests.training.networks.imported.published_files import (
    THREE,
    RetrievalNetwork,
    old_order,
    release,
    retrieval_network,
    save,
)

SIZES = ((96, 131), (75, 64))


def assert_same_vectors(network: Network, published: RetrievalNetwork, scales: tuple[float, ...] = (1.0,)) -> None:
    network.scales = scales
    for height, width in SIZES:
        pixels = picture(height, width, seed=height)
        with torch.inference_mode():
            ours = network(torch.from_numpy(pixels)[None])[0].double()
        theirs = published.extract(pixels, scales).double()
        cosine = float(ours @ theirs / ours.norm() / theirs.norm())
        assert cosine > 1 - 1e-6, (height, width, scales, cosine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "timms", "options", "meta"),
    [
        ("resnet101", "resnet101", {}, {}),
        ("vgg16", "vgg16", {}, {}),
        ("efficientnet_b3", "tf_efficientnet_b3", {"dim": 512}, {}),
        ("mobilenet_v2", "mobilenetv2_100", {"dim": 48, "p": torch.linspace(1.5, 4, 48)}, {"pooling": "gemmp"}),
    ],
)  # fmt: skip
def test_a_release_gives_the_vectors_of_its_own_code(
    tmp_path: Path, architecture: str, timms: str, options: dict[str, Any], meta: dict[str, object]
) -> None:
    published = retrieval_network(timms if "efficientnet" in timms else architecture, **options)
    imported = import_network(save(tmp_path / "x.pth", release(published, architecture, **meta)))
    description = imported.checkpoint.description
    assert (description.branches[0].trunk, description.branches[0].projection) == (timms, options.get("dim"))
    assert (description.photo_size, imported.left_out) == (1024, ())
    assert_same_vectors(imported.checkpoint.network, published, (1.0,))
    assert_same_vectors(imported.checkpoint.network, published, THREE)


@pytest.mark.slow
def test_a_whitening_trained_with_the_network_averages_scales_behind_it(tmp_path: Path) -> None:
    published = retrieval_network("resnet18", whiten=True)
    imported = import_network(save(tmp_path / "x.pth", release(published, "resnet18", whitening=True)))
    imported.checkpoint.network.scales = THREE
    save_checkpoint(tmp_path / "x.pt", imported.checkpoint)
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.space_id == imported.checkpoint.space_id
    assert_same_vectors(loaded.network, published, (2**0.5, 1.0, 0.5**0.5))
    assert_same_vectors(loaded.network, published, (1.0,))
    # The exported graph has the same order; the gate compares it with the network.
    report = check_graph(encoder_graph(loaded.network, 96), loaded.network, 96)
    assert report.cosine_distance < 1e-5
    loaded.network.scale_mean = ScaleMean()
    with pytest.raises(AssertionError):
        assert_same_vectors(loaded.network, published, THREE)


@pytest.mark.parametrize("is_old", [False, True])
def test_students_of_old_and_new_timm_are_the_same_network(tmp_path: Path, is_old: bool) -> None:
    published = retrieval_network("test_efficientnet", dim=40)
    file = release(published, "efficientnet_b3")
    if is_old:
        file["state_dict"] = old_order(file["state_dict"])
        assert "features.7.weight" in file["state_dict"]
    training_checkpoint = {**file, "epoch": 3, "min_loss": np.float64(0.5), "optimizer": {"state": {}}}
    path = save(tmp_path / "student.pth.tar", training_checkpoint)
    imported = import_network(path, trunk="test_efficientnet")
    assert "EfficientNet" in imported.layout
    assert ("before 0.9" in imported.layout) == is_old
    for scales in ((1.0,), THREE):
        assert_same_vectors(imported.checkpoint.network, published, scales)


def test_regions_with_a_whitening_are_read(tmp_path: Path) -> None:
    published = retrieval_network("test_efficientnet", dim=16)
    file = release(published, "efficientnet_b3", regional=True)
    file["state_dict"]["pool.rpool.p"] = file["state_dict"].pop("pool.p")
    layer = nn.Linear(16, 16)
    file["state_dict"] |= {f"pool.whiten.{name}": tensor for name, tensor in layer.state_dict().items()}
    branch = import_network(save(tmp_path / "x.pth", file), trunk="test_efficientnet").checkpoint.network.branches[0]
    assert branch.pooling == "rgem"
    torch.testing.assert_close(branch.pool.state_dict()["whiten.weight"], layer.weight.detach())
    torch.testing.assert_close(branch.pool.state_dict()["p"], torch.tensor(2.6))


def test_the_files_own_normalisation_is_used(tmp_path: Path) -> None:
    published = retrieval_network("test_efficientnet", dim=8)
    file = release(published, "efficientnet_b3", mean=torch.tensor([0.5, 0.4, 0.3]), std=np.array([0.25, 0.5, 1.0]))
    normalise = (
        import_network(save(tmp_path / "x.pth", file), "test_efficientnet").checkpoint.network.branches[0].normalise
    )
    torch.testing.assert_close(normalise.mean.flatten(), torch.tensor([127.5, 102.0, 76.5]))
    torch.testing.assert_close(normalise.std.flatten(), torch.tensor([63.75, 127.5, 255.0]))
