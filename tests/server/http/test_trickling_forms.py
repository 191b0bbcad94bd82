"""Photo forms that trickle in take no place of other galleries' jobs."""

from __future__ import annotations

import select
import shutil
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from askew_client.encoding.encoder import Encoder
from tests.support.job_waiting import wait_for_job
from tests.support.raw_http import connect
from tests.support.running_server import RunningServer
from tests.support.waiting import wait_until

FORMS = 34
"""Two more than the jobs that may wait by default."""


@pytest.mark.slow
def test_trickling_photo_forms_do_not_keep_another_gallery_from_its_jobs(data: Path, teacher: Encoder) -> None:
    shutil.copytree(data / "galleries/objects", data / "galleries/other")
    head = (
        b"POST /v1/galleries/objects/items/photos HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 100000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n"
    )  # fmt: skip
    with RunningServer(data, "--gallery", "objects") as server, ExitStack() as open_ones:
        forms = [open_ones.enter_context(closing(connect(server.url, 60))) for _ in range(FORMS)]
        for form in forms:
            form.sendall(head)
        # The other gallery asks after all of them: one that came before them would find a place anyhow.
        wait_until(lambda: len(_received(data)) + len(_answered(forms)) == FORMS, "each form to be received or refused")
        refused = _answered(forms)
        for _ in range(3):
            for form in forms:
                if form not in refused:
                    form.sendall(b"x" * 20)
            accepted = server.http.post("/v1/galleries/other/snapshots")
            assert accepted.status_code == 202, accepted.text
            assert wait_for_job(server.http, accepted.json()["id"])["state"] == "done"
        # Some are still being received; a gallery may have so many at a time, and the others were refused.
        assert _received(data)


def _received(data: Path) -> list[Path]:
    """The folders of what is being received, and of jobs."""
    return [each for each in (data / "jobs").iterdir() if each.is_dir()]


def _answered(forms: list[socket.socket]) -> list[socket.socket]:
    readable, _, _ = select.select(forms, [], [], 0)
    return readable
