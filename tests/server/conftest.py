from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer, run_askew


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> Path:
    """A DATA directory with the gallery `objects`: 49 photos of the demo, described by the small teacher."""
    folder = tmp_path_factory.mktemp("indexed")
    photos = folder / "photos"
    photos.mkdir()
    chosen = sorted((DEMO / "gallery").glob("*.jpg"))[::3]
    for photo in chosen:
        shutil.copy(photo, photos / photo.name)
    lines = [f"photos/{photo.name},{photo.stem},{photo.stem.split('-')[0]}" for photo in chosen]
    (folder / "known.csv").write_text("\n".join(["file,id,kind", *lines]))
    done = run_askew(
        "index", photos, "--encoder", teacher_file, "--data", folder / "data", "--gallery", "objects",
        "--payloads", folder / "known.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def data(indexed: Path, tmp_path: Path) -> Path:
    """A copy of the indexed DATA directory that the test may change."""
    copy = tmp_path / "data"
    shutil.copytree(indexed / "data", copy)
    return copy


@pytest.fixture(scope="module")
def server(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of a module, on its own copy of DATA."""
    copy = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(indexed / "data", copy)
    with RunningServer(copy, "--gallery", "objects", "--photo-search") as running:
        yield running


@pytest.fixture(scope="session")
def teacher(teacher_file: Path) -> Encoder:
    return Encoder(teacher_file)


@pytest.fixture(scope="session")
def photo(indexed: Path) -> Path:
    """One of the indexed photos; its item's id is its stem."""
    return sorted((indexed / "photos").iterdir())[7]


@pytest.fixture(scope="session")
def query(teacher: Encoder, photo: Path) -> NDArray[np.float32]:
    return teacher.encode(photo)


@pytest.fixture(scope="session")
def headers(teacher: Encoder) -> dict[str, str]:
    """The headers of a raw f16le query in the right space."""
    return {"Content-Type": "application/octet-stream", "Askew-Space": teacher.space_id, "Askew-Dtype": "f16le"}


@pytest.fixture(scope="session")
def body(query: NDArray[np.float32]) -> bytes:
    return pack(query)
