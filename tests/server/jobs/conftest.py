"""A gallery to be described by a second teacher, which tests of several jobs use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from askew_server.storage.items import StoredItem
from tests.support.gallery_files import described, unit_vector, write_gallery
from tests.support.paths import DEMO
from tests.support.small_encoders import make_encoder
from tests.support.teacher_changes import FILLED

PHOTOS = 12


@pytest.fixture(scope="module")
def second_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another teacher: another space, another dimension, another photo size."""
    folder = tmp_path_factory.mktemp("second")
    return make_encoder(folder / "second.onnx", role="teacher", dim=96, seed=5, photo_size=160, version="2")


@pytest.fixture(scope="module")
def second(second_file: Path) -> Encoder:
    return Encoder(second_file)


@pytest.fixture(scope="module")
def chosen() -> list[Path]:
    """The smallest photos of the demo: the old gallery's."""
    return sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:PHOTOS]


@pytest.fixture(scope="module")
def prepared(
    chosen: list[Path],
    teacher: Encoder,
    teacher_file: Path,
    second_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """DATA with the gallery `objects`, which the alias `live` names, and the empty gallery `next` of another teacher."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    write_gallery(data, "objects", teacher_file, described(teacher, chosen), aliases=["live"])
    write_gallery(data, "next", second_file)
    return data


@pytest.fixture
def two_galleries(prepared: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    copy = tmp_path / "data"
    shutil.copytree(prepared, copy)
    return copy


@pytest.fixture
def old_photo(chosen: list[Path]) -> Path:
    """One of the old gallery's photos; its item's id is its stem."""
    return chosen[3]


@pytest.fixture
def filled(two_galleries: Path, chosen: list[Path], teacher_file: Path) -> Path:
    """DATA whose old gallery has more items; their vectors do not matter, so they are random ones."""
    items = [
        StoredItem(
            f"filled-{n}", unit_vector(n), {"number": -n}, (chosen[n % 2].read_bytes() + n.to_bytes(2, "big"), ".jpg")
        )
        for n in range(1, FILLED + 1)
    ]
    write_gallery(two_galleries, "objects", teacher_file, items)
    return two_galleries
