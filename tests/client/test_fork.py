"""What is used after a fork (gunicorn --preload, Celery, multiprocessing): a client has connections of its own in each
process, and an encoder an engine of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.client.encoding.photo_samples import picture
from tests.client.forking import CHILDREN, ROUNDS
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers each item's path with that item, after a moment in which answers could be exchanged."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(0.002)
            body = (
                b'{"id": "%s", "payload": {}, "has_photo": false}' % self.path.split("?")[0].rsplit("/", 1)[1].encode()
            )
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def seen(scenario: str, *arguments: str | Path) -> Any:
    """What a process that forks saw in a scenario of `forking`."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.client.forking", scenario, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_forked_children_get_their_own_answers(url: str) -> None:
    assert seen("client", url) == {"right": ROUNDS * CHILDREN, "parent": ROUNDS}


@pytest.mark.slow
def test_so_do_those_of_an_async_client(url: str) -> None:
    assert seen("async_client", url) == {"right": ROUNDS * CHILDREN, "parent": ROUNDS}


@pytest.mark.slow
def test_closing_in_a_child_leaves_the_parents_connection_open(url: str) -> None:
    assert seen("closing", url) == ["closed", "b"]


@pytest.mark.slow
def test_a_fork_in_the_middle_of_other_threads_requests_does_not_block_the_child(url: str) -> None:
    assert seen("busy_threads", url) == list("abcdefghijklmnopqrst")


@pytest.mark.slow
def test_a_grandchild_has_its_own_connections_too(url: str) -> None:
    assert seen("grandchild", url) == ["b", "c", "d"]


def test_children_describe_with_their_parents_encoder_and_end(teacher_file: Path, photos: list[Path]) -> None:
    assert seen("encoder", teacher_file, photos[0]) == ["equal", "forgotten", "ignored", "equal"]


def test_a_child_refuses_an_encoder_that_was_replaced_after_its_parent_opened_it(
    teacher_file: Path, student_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    path, other = tmp_path / "encoder.onnx", tmp_path / "other.onnx"
    shutil.copy(teacher_file, path)
    shutil.copy(student_file, other)
    child, parent = seen("replaced_encoder", path, photos[0], other)
    assert child.startswith(f"DamagedEncoder: {path} is another file than the one that this encoder was opened from")
    assert int(parent) > 0


@pytest.mark.parametrize("mine", ["mine", ""], ids=["with an encoder", "without"])
def test_a_fork_waits_for_a_thread_that_opens_an_encoder(mine: str, teacher_file: Path, photos: list[Path]) -> None:
    assert seen("opening", teacher_file, photos[0], mine) == ["64"] * CHILDREN


def test_a_fork_waits_for_what_a_first_photo_imports(teacher_file: Path, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    heif.from_pillow(picture()).save(path)
    assert seen("first_photo", teacher_file, path) == ["64"]


def test_the_threads_of_a_child_share_one_session(teacher_file: Path, photos: list[Path]) -> None:
    assert seen("several_threads", teacher_file, photos[0]) == ["8 with 1"]


def test_a_stream_stays_with_the_process_that_began_it(teacher_file: Path, photos: list[Path]) -> None:
    ended, described, went_on, parent = seen("amid_a_stream", teacher_file, photos[0])
    assert (ended, described, parent) == ("ended", "64", "19")
    assert went_on.startswith("ClientMisused: Expected a stream of vectors to be read by the process that began it")


def test_an_encoder_is_found_again_from_another_folder(teacher_file: Path, photos: list[Path]) -> None:
    assert seen("another_folder", teacher_file, photos[0]) == ["64"]
