"""The commands of docs/replicas.md, run as they stand there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from tests.docs.shell_blocks import shell_blocks
from tests.support.gallery_files import described, write_gallery
from tests.support.paths import DEMO, ROOT

AT_THE_END = """
ls askew-data/discarded
kill $(jobs -p)
wait
"""


@pytest.mark.drill
def test_the_commands_of_the_page_can_be_run(tmp_path: Path, teacher: Encoder, teacher_file: Path) -> None:
    photos = sorted((DEMO / "gallery").glob("*.jpg"))[:12]
    write_gallery(tmp_path / "askew-data", "museum", teacher_file, described(teacher, photos))
    script = "\n".join(["set -eu", *shell_blocks(ROOT / "docs/replicas.md"), AT_THE_END])
    for port in ("8001", "8002"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            script = script.replace(port, str(free.getsockname()[1]))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        stdout, stderr = process.communicate(timeout=200)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{script}\n{stdout[-3000:]}\n{stderr[-3000:]}"
    assert "primary, epoch 1" in stdout and "replica of" in stdout
    assert "is the primary since epoch 2" in stdout
    assert stdout.rstrip().endswith("museum")
