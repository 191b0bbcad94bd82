"""Whatever writes to stderr while a server runs, the log has one form: a JSON object on each line."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.running_server import RunningServer

CHATTER = """
import asyncio, gc, logging, os, subprocess, sys, threading, traceback, warnings
from contextlib import closing
from askew_server.observability.logs import Logs

class Failing:
    def __del__(self):
        raise ValueError("in a finaliser")

async def forgotten():
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()

async def fail():
    raise ValueError("in a task")

def raises():
    raise ValueError("in a thread")

with closing(Logs("json", "info")):
    thread = threading.Thread(target=raises, name="odd")
    thread.start()
    thread.join()
    Failing()
    asyncio.run(forgotten())
    warnings.simplefilter("always")
    warnings.warn("a warning")
    print("printed", file=sys.stderr)
    os.write(2, b"WARNING clustering 1000 points\\n")
    os.write(2, b"without an end")
    os.write(2, b" of the line\\n")
    subprocess.run([sys.executable, "-c", "raise ValueError('in a child')"])
    subprocess.run(["sh", "-c", "printf '\\\\377\\\\376 no UTF-8\\\\n' >&2"])
    logging.getLogger("uvicorn.error").info("Started [%d]", 1, extra={"color_message": "Started [\\x1b[36m%d\\x1b[0m]"})
    logging.getLogger("faiss.loader").info("Loading faiss with AVX2 support.")
    logging.getLogger("askew.server").info("%d photos", "many")
    try:
        raise ValueError("printed by hand")
    except ValueError:
        traceback.print_exc()
    # A child that outlives the log.
    subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print("as before", file=sys.stderr)
"""


def checked_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a log, each an object with what every line has."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"])
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert "color_message" not in line and "\x1b" not in json.dumps(line)
    return lines


@pytest.mark.slow
def test_everything_that_is_written_to_stderr_becomes_a_line_of_the_log(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", CHATTER], stderr=log, check=True, timeout=120)
    text = (tmp_path / "log").read_text()
    assert text.endswith("as before\n")
    lines = checked_lines(text.removesuffix("as before\n"))
    everything = [f"{line['message']} {line.get('exception', '')}" for line in lines]
    for wanted in (
        "ValueError: in a thread", "ValueError: in a finaliser", "ValueError: in a task", "a warning", "printed",
        "WARNING clustering 1000 points", "without an end of the line", "ValueError: in a child", "no UTF-8",
        "Started [1]", "'%d photos'", "ValueError: printed by hand",
    ):  # fmt: skip
        assert sum(wanted in each for each in everything) >= 1, (wanted, everything)
    assert not any("AVX2" in each for each in everything)


@pytest.mark.slow
def test_every_line_of_a_server_is_json_from_the_first_to_the_last(
    indexed: Path, tmp_path: Path, photo: Path, body: bytes, headers: dict[str, str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(indexed / "data", data)
    (data / "galleries" / "broken").mkdir()
    (data / "galleries" / "broken" / "gallery.db").write_bytes(b"no database" * 1_000)
    environment = {"ASKEW_LOG_LEVEL": "info"}
    picture = photo.read_bytes()
    # Both of its streams are one pipe, as a container's runtime collects them.
    with RunningServer(data, "--photo-search", environment=environment) as server:
        search = "/v1/galleries/objects/search"
        assert server.http.post(search, content=body, headers=headers).status_code == 200
        assert server.http.post(f"{search}/photo", content=picture).status_code == 200
        assert server.http.post(f"{search}/photo", content=b"no photo").status_code == 422
        assert server.http.get("/nowhere").status_code == 404
        assert server.http.get("/v1/galleries/broken").status_code == 503
        assert server.http.post(search, json={"limit": 0}).status_code == 422
        # The processes that describe photos are gone before the next one comes.
        for child in psutil.Process(server.process.pid).children(recursive=True):
            child.kill()
        server.http.post(f"{search}/photo", content=picture)
        output = server.start_line + server.stop()
    lines = checked_lines(output)
    assert lines[0]["message"] == f"Askew serves {data} at {server.url}"
    assert (lines[0]["logger"], lines[0]["data"], lines[0]["url"]) == ("askew.server", str(data), server.url)
    assert sum(line["message"] == "request" for line in lines) >= 7
    assert not any("faiss" in line["logger"] for line in lines)
    assert any("'default' does not exist" in line["message"] for line in lines)


@pytest.mark.slow
def test_on_a_terminal_the_lines_are_for_people(tmp_path: Path) -> None:
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "askew_client.cli.main", "serve", "--data", str(tmp_path / "data"), "--port", "0"],
        stdout=other,
        stderr=other,
        env={name: value for name, value in os.environ.items() if not name.startswith("ASKEW_")},
    )
    os.close(other)
    text = ""
    try:
        while "Application startup complete" not in text or "does not exist" not in text:
            text += os.read(terminal, 65_536).decode()
    finally:
        process.terminate()
        process.wait(60)
        os.close(terminal)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text).replace("\r\n", "\n")
    assert f"Askew serves {tmp_path / 'data'} at http://127.0.0.1:" in plain
    assert not re.search("^{", plain, re.MULTILINE)
    assert "color_message" not in plain and "faiss" not in plain
    assert plain.count("Started server process") == 1
    assert "was empty" in plain
