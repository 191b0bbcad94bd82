"""docs/trial.md: its examples and those of the pages that it names, pasted one after the other into one shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.shell_blocks import add_jq, add_program, shell_blocks
from tests.support.paths import ROOT
from tests.support.small_encoders import make_encoder

TRIAL = ROOT / "docs/trial.md"
NOT_FOR_A_TRIAL = re.compile(r"^pip install|^docker |OTEL_EXPORTER", re.MULTILINE)
"""Installs, containers, and what needs a collector of traces."""


def pages() -> list[Path]:
    """The pages that the trial names, in its order."""
    steps = re.findall(r"^\d\. .*$", TRIAL.read_text(), re.MULTILINE)
    return [ROOT / "docs" / name for step in steps for name in re.findall(r"\]\(([\w-]+\.md)\)", step)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def checkout(tmp_path: Path, teacher_file: Path, student_file: Path) -> Path:
    """What a trial needs of a checkout: the demo's files, with small encoders and 24 of its photos."""
    folder = tmp_path / "checkout"
    for name in ("encoders", "gallery"):
        (folder / "demo" / name).mkdir(parents=True)
    shutil.copy(teacher_file, folder / "demo/encoders/teacher.onnx")
    shutil.copy(student_file, folder / "demo/encoders/student.onnx")
    shutil.copytree(ROOT / "demo/queries", folder / "demo/queries")
    chosen = {*sorted((ROOT / "demo/gallery").glob("*.jpg"))[:22]}
    chosen |= {ROOT / "demo/gallery/colosseum.jpg", ROOT / "demo/gallery/charminar.jpg"}
    for photo in chosen:
        shutil.copy(photo, folder / "demo/gallery" / photo.name)
    lines = (ROOT / "demo/credits.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if any(line.startswith(f"gallery/{photo.name},") for photo in chosen)]
    (folder / "demo/credits.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples call curl, which is not installed")
def test_the_examples_work_one_after_the_other(checkout: Path, tmp_path: Path) -> None:
    assert len(pages()) >= 9
    blocks = [block for page in (TRIAL, *pages()) for block in shell_blocks(page)]
    blocks = [block for block in blocks if not NOT_FOR_A_TRIAL.search(block)]
    assert len(blocks) > 20
    programs = tmp_path / "programs"
    # The suite has its own test of `make demo`.
    add_program(programs, "make", '#!/bin/sh\necho make "$@"\n')
    # Problems are failures, as for a reader who looks at the answers.
    add_program(
        programs, "curl", f'#!/bin/sh\nexec {shutil.which("curl")} --silent --show-error --fail-with-body "$@"\n'
    )
    add_jq(programs)
    # A reader of "Switch the teacher" has these.
    make_encoder(checkout / "new-teacher.onnx", role="teacher", seed=5, version="2")
    make_encoder(checkout / "new-student.onnx", role="student", seed=5, version="2", noise=0.1, photo_size=96)
    port = free_port()
    script = "\n".join(
        ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", blocks[0], "mv ../new-*.onnx ."]
        + [f"echo '=== {number}' >&2\n{block}" for number, block in enumerate(blocks[1:], start=1)]
    )
    script = script.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}")
    script = script.replace("askew serve", f"askew serve --port {port}")
    # As `kill %1` in the text of backup.md, before the doctor.
    script = script.replace("askew doctor", "kill %1 2>/dev/null && wait %1 || true\naskew doctor", 1)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASKEW_")},
        # For `askew search`, whose default is port 8000.
        "ASKEW_SERVER": f"http://127.0.0.1:{port}",
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout=500)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text(errors="replace")
    assert code == 0, said[-6000:]
    for sentence in ("is admitted to gallery 'museum'", '"hits"', "Everything is in order", "holds"):
        assert sentence in said
