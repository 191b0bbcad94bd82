from __future__ import annotations

from pathlib import Path

import pytest
import torch

from askew_training.cli.whiten import whiten
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import MANIFEST_HEADER, run_command
from tests.training.photo_files import save_photo


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of four instances with a manifest, licences and weights of a trunk. One photo is damaged."""
    folder = tmp_path_factory.mktemp("project")
    rows = []
    for i in range(16):
        role = ("train", "train", "query", "gallery")[i % 4]
        # The query and the gallery photo of an instance are equal.
        save_photo(folder / f"{i}.png", i if role == "train" else 100 + i // 4, (64, 50))
        rows.append(f"{i}.png,{i // 4},{role},walls,north")
    (folder / "broken.png").write_bytes(b"no photo")
    rows.append("broken.png,9,train,walls,north")
    (folder / "manifest.csv").write_text(MANIFEST_HEADER + "\n".join(rows) + "\n")
    (folder / "licences.toml").write_text('[licences]\nnorth = "CC0"\n')
    torch.manual_seed(1)
    torch.save(Trunk(TINY_TRUNK).features.state_dict(), folder / "weights.pth")
    return folder


@pytest.fixture(scope="package")
def photos(project: Path) -> tuple[object, ...]:
    """Options that name the photos to learn from, and the folder for vectors."""
    manifest, licences = project / "manifest.csv", project / "licences.toml"
    return ("--manifest", manifest, "--licences", licences, "--cache", project / "cache")


@pytest.fixture(scope="package")
def whitened(project: Path, photos: tuple[object, ...]) -> Path:
    """A teacher at two scales, with a whitening to four dimensions."""
    start = ("--trunk", TINY_TRUNK, "--weights", project / "weights.pth")
    options = ("--photo-size", 128, "--dim", 4, "--scales", "1,0.7")
    assert run_command(whiten, project / "whitened.pt", *start, *options, *photos).exit_code == 3  # One is damaged.
    return project / "whitened.pt"
