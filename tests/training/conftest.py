"""Fixtures of the tests of training. Heavy libraries are imported when a fixture is first used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from askew_training.export.gate import GateReport
    from askew_training.networks.network import Network


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    """Use one thread: the networks are so small that several threads would mostly wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _precision_of_its_own() -> Iterator[None]:
    yield
    from tests.support.training_helpers import forget_precision

    forget_precision()


@pytest.fixture(scope="session")
def network() -> Network:
    from tests.support.training_helpers import tiny_network

    return tiny_network()


@pytest.fixture(scope="session")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GateReport]:
    """The encoder file of `network`, a teacher, and what the gate measured."""
    from askew_training.export.encoder_file import write_encoder
    from tests.support.training_helpers import CARD, checkpoint_of

    path = tmp_path_factory.mktemp("encoders") / "tiny.onnx"
    return path, write_encoder(checkpoint_of(network), CARD, path)


@pytest.fixture(scope="session")
def teacher(exported: tuple[Path, GateReport]) -> Path:
    """The encoder file of `network`, a teacher."""
    return exported[0]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos and reference values, which only some machines have."""
    folder = Path(os.environ.get("ASKEW_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the folder of reference values (ASKEW_SHARED) is not on this machine")
    return folder
