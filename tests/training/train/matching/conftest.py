from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from askew_training.networks.network import Network


@pytest.fixture(scope="session")
def project_with_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to copy, with the teacher itself: `teacher.pt`, which sees 128 px, and `teacher.onnx`."""
    from askew_training.export.encoder_file import write_encoder
    from askew_training.networks.checkpoint import save_checkpoint
    from tests.support.training_helpers import CARD, checkpoint_of, tiny_network
    from tests.training.train.project import make_project

    folder = tmp_path_factory.mktemp("matching")
    make_project(folder)
    shutil.rmtree(folder / "vectors")
    teacher = checkpoint_of(whitened(tiny_network(dim=None), folder))
    save_checkpoint(folder / "teacher.pt", teacher)
    write_encoder(teacher, CARD, folder / "teacher.onnx")
    return folder


def whitened(network: Network, folder: Path) -> Network:
    """The network with a whitening of the project's photos: random features alone are nearly the same for all photos."""
    from askew_client.encoding.photos import read_photo
    from askew_training.heads.pca import learn_whitening
    from askew_training.networks.network import Network

    paths = sorted([*folder.glob("walls/*/*.jpg"), *folder.glob("pool/*.png")])
    with torch.inference_mode():
        pooled = [network.pooled(torch.from_numpy(np.array(read_photo(path)))[None]).numpy() for path in paths]
    return Network(network.branches, learn_whitening(np.concatenate(pooled), 8, 0.5).as_layer()).eval()


@pytest.fixture
def folder(project_with_teacher: Path, tmp_path: Path) -> Path:
    """A project of the test's own, with its teacher."""
    shutil.copytree(project_with_teacher, tmp_path / "project")
    return tmp_path / "project"
