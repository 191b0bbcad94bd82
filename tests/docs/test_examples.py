"""The curl examples of the README and of pages outside the trial, run unchanged against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from tests.docs.shell_blocks import add_jq, add_program, shell_blocks
from tests.docs.test_trial import pages
from tests.support.paths import ROOT
from tests.support.running_server import RunningServer, run_askew
from tests.support.small_encoders import make_encoder

PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {*pages()})]
"""Pages outside the trial, whose test runs those of the others."""
CURL = shutil.which("curl")
# Shows problems as failures, and keeps what came back for the test to read.
SHIM = """#!/bin/bash
set -o pipefail
kept="$KEPT/$$-$RANDOM"
{curl} --silent --show-error --fail-with-body --dump-header "$kept.headers" "$@" | tee "$kept.body"
"""


def examples(page: Path) -> list[str]:
    """The shell blocks of a page that call curl, in their order."""
    return [
        block for block in shell_blocks(page) if re.search(r"^\s*curl\b|\|\s*curl\b|\$\(curl\b", block, re.MULTILINE)
    ]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path, student_file: Path) -> Path:
    """A folder as a reader has it: encoders, photos, and a DATA directory with the gallery `museum`."""
    folder = tmp_path_factory.mktemp("reader")
    for name, source in (("teacher.onnx", teacher_file), ("student.onnx", student_file)):
        shutil.copy(source, folder / name)
    make_encoder(folder / "new-teacher.onnx", role="teacher", seed=5, version="2")
    make_encoder(folder / "new-student.onnx", role="student", seed=5, version="2", noise=0.1, photo_size=96)
    (folder / "photos").mkdir()
    chosen = sorted((ROOT / "demo/gallery").glob("*.jpg"))[:24]
    for photo in chosen:
        shutil.copy(photo, folder / "photos" / photo.name)
    for name, photo in (("photo.jpg", chosen[0]), ("a.jpg", chosen[1]), ("b.jpg", chosen[2])):
        shutil.copy(photo, folder / name)
    (folder / "demo").symlink_to(ROOT / "demo")
    into = ("--gallery", "museum", "--data", folder / "data")
    for command in (
        ("index", folder / "photos", "--encoder", teacher_file, *into),
        ("admit", student_file, *into),
    ):
        done = run_askew(*command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def server(prepared: Path, tmp_path: Path) -> Iterator[RunningServer]:
    shutil.copytree(prepared / "data", tmp_path / "data")
    with RunningServer(tmp_path / "data", "--gallery", "museum", "--photo-search") as running:
        yield running


@pytest.mark.slow
@pytest.mark.skipif(CURL is None, reason="the examples call curl, which is not installed")
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_the_examples_do_what_they_say(page: Path, prepared: Path, server: RunningServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(prepared, home, symlinks=True, ignore=shutil.ignore_patterns("data"))
    kept, programs = tmp_path / "kept", tmp_path / "programs"
    kept.mkdir()
    add_program(programs, "curl", SHIM.format(curl=CURL))
    add_jq(programs)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KEPT": str(kept),
        "SPACE": Encoder(home / "teacher.onnx").space_id,
        "ASKEW_URL": server.url,
    }
    # In one shell, so that a later example finds the variables of an earlier one.
    script = "\n".join(["set -euo pipefail", *examples(page)]).replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        ["bash", "-c", script], cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    answers = sorted(kept.glob("*.headers"))
    assert answers
    for headers in answers:
        body = headers.with_suffix(".body").read_bytes()
        if "content-type: application/json" in headers.read_text().lower() and body:
            json.loads(body)
