"""The graph of an encoder."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from askew_client.encoding.runtime import open_session
from askew_training.errors import DataError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.simplification import simplify
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import picture, varied

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session


@pytest.fixture(scope="module")
def session(network: Network) -> Session:
    graph = simplify(encoder_graph(network, 128))
    return open_session(graph.SerializeToString())


@pytest.mark.parametrize(("height", "width"), [(33, 47), (128, 128), (301, 77), (95, 640), (700, 933)])
def test_one_photo_and_a_batch_give_the_same_vector(session: Session, height: int, width: int) -> None:
    photos = np.stack([picture(height, width, seed) for seed in range(3)])
    (together,) = session.run(["descriptor"], {"image": photos})
    alone = np.concatenate([session.run(["descriptor"], {"image": photo[None]})[0] for photo in photos])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


def test_a_full_folder_for_temporary_files_is_named(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(DataError, match=f"folder for temporary files, {tmp_path}: File too large. .*TMPDIR"):
            encoder_graph(network, 128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunks", "projection", "dim", "scales"),
    [
        (["resnet26"], None, None, (1.0,)),
        (["vgg11"], None, None, (1.0,)),
        (["tf_efficientnet_b3"], 256, None, (1.0,)),
        (["mobilenetv3_small_100"], None, 64, (1.0,)),
        ([TINY_TRUNK, "mobilenetv2_050"], None, 64, (1.0,)),
        ([TINY_TRUNK], 64, None, (2**0.5, 1.0, 0.5**0.5)),
        ([TINY_TRUNK, "test_efficientnet"], 48, 32, (2**0.5, 1.0, 0.5**0.5)),
    ],
)
def test_exported_networks_compute_the_same_as_torch(
    trunks: list[str], projection: int | None, dim: int | None, scales: tuple[float, ...]
) -> None:
    branches = [Branch(varied(Trunk(name)), projection) for name in trunks]
    channels = sum(branch.channels for branch in branches)
    network = Network(branches, None if dim is None else torch.nn.Linear(channels, dim), scales).eval()
    report = check_graph(simplify(encoder_graph(network, 72)), network, 72)
    assert report.cosine_distance <= 1e-5
