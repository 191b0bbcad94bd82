"""Fixtures of the tests of training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from askew_training.networks.network import Network
from tests.support.paths import ROOT
from tests.support.training_helpers import tiny_network


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Tiny networks on busy machines: threads would wait for one another longer than they compute."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def network() -> Network:
    return tiny_network()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photos and reference values that only some machines have."""
    root = ROOT
    folder = Path(os.environ.get("ASKEW_SHARED", root.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the folder of reference values (ASKEW_SHARED) is not on this machine")
    return folder
