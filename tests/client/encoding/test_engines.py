"""What is said of an engine that cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OPEN = "from askew_client import Encoder; Encoder({encoder!r})"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "ImportError('libcudart.so.13: cannot open shared object file')",
            "cannot be loaded: libcudart.so.13: cannot open",
        ),
        ("ModuleNotFoundError('No module named coloredlogs', name='coloredlogs')", "cannot be loaded: No module named"),
        # pybind11's words for Ctrl-C while a module initialises itself.
        ("ImportError('KeyboardInterrupt: <EMPTY MESSAGE>')", "KeyboardInterrupt"),
    ],
    ids=["a missing library", "a missing dependency", "ctrl-c"],
)
def test_an_engine_that_is_installed_is_never_said_to_be_missing(
    teacher_file: Path, tmp_path: Path, raised: str, said: str
) -> None:
    (tmp_path / "onnxruntime.py").write_text(f"raise {raised}\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {OPEN.format(encoder=str(teacher_file))}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "pip install onnxruntime" not in done.stderr
