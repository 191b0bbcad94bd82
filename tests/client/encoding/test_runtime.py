"""ONNX Runtime reports nothing to its maker, and keeps no identifier of the device, unless somebody wants that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"
PROGRAMS = {
    "an encoder": "from askew_client import Encoder; Encoder(PATH).encode(PHOTO)",
    "the command line": "sys.argv[1:] = ['encode', PHOTO, '--encoder', PATH, '--out', 'v.npy']; from askew_client.cli.main import main; main()",
    "an export's parts": (
        "import numpy as np; from askew_training.export.shrinking import shrink; "
        "shrink(np.zeros((400, 300, 3), np.uint8), 200)"
    ),
    "a library that has it loaded": (
        "import onnx; from askew_training.export.simplification import simplify; simplify(onnx.load(PATH))"
    ),
    "the server's question for a GPU": "from askew_server.encoders.describer import _uses_gpu; _uses_gpu()",
}


def files_left(program: str, home: Path, encoder: Path, photo: Path, **variables: str) -> list[str]:
    """What a program leaves in its user's home."""
    home.mkdir()
    others = {name: value for name, value in os.environ.items() if name != VARIABLE and not name.startswith("XDG_")}
    subprocess.run(
        [sys.executable, "-c", f"import sys\nPATH, PHOTO = {str(encoder)!r}, {str(photo)!r}\n{program}"],
        cwd=home.parent,
        env={**others, "HOME": str(home), **variables},
        check=True,
        timeout=100,
    )
    return sorted(
        str(each.relative_to(home)) for each in home.rglob("*") if each.is_file() and ".onnxruntime" in str(each)
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_nothing_is_kept_to_be_reported(program: str, teacher_file: Path, photos: list[Path], tmp_path: Path) -> None:
    assert files_left(program, tmp_path / "home", teacher_file, photos[0]) == []


def test_who_wants_it_reported_is_obeyed(teacher_file: Path, photos: list[Path], tmp_path: Path) -> None:
    """And shows that the test above would see it: an ONNX Runtime without telemetry leaves nothing either way."""
    left = files_left(PROGRAMS["an encoder"], tmp_path / "home", teacher_file, photos[0], **{VARIABLE: "0"})
    # Since 1.29 on Linux; an older one, and another system, has it elsewhere or not at all.
    assert all(".onnxruntime" in each for each in left)
    assert bool(left) == bool(files_left("import onnxruntime", tmp_path / "bare", teacher_file, photos[0]))
