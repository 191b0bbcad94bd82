"""What the commands import before they run."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

from askew_training import cli


@pytest.mark.slow
def test_the_commands_import_nothing_heavy() -> None:
    heavy = "('torch', 'timm', 'onnx', 'onnxruntime', 'accelerate')"
    modules = ", ".join(f"askew_training.cli.{each.name}" for each in pkgutil.iter_modules(cli.__path__))
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
