from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.offline.galleries import PackedGallery


@pytest.fixture
def gallery(tmp_path: Path, teacher_file: Path) -> Iterator[PackedGallery]:
    with PackedGallery(tmp_path / "objects", teacher_file) as made:
        yield made
