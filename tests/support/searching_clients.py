"""Clients that search through an alias continuously, while its gallery's teacher is changed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.job_waiting import DEADLINE


def _headers(encoder: Encoder) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Askew-Space": encoder.space_id, "Askew-Dtype": "f16le"}


class SearchingClients:
    """Clients that search through the alias continuously, as apps do, with the encoder of the space that answers.

    `failures`: what ended a client. On 409 an app takes the encoder of the space that is expected, and asks again.
    """

    def __init__(self, url: str, photo: Path, encoders: list[Encoder]) -> None:
        self._url = url
        self._bodies = {each.space_id: (pack(each.encode(photo)), _headers(each)) for each in encoders}
        self._wanted = photo.stem
        self._spaces = [encoders[0].space_id] * 3
        self.answers: list[tuple[int, int, str, str]] = []
        self._stopped = threading.Event()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._guarded, args=(n,)) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def wait_for_answers_from(self, gallery: str) -> None:
        """Wait until each client has had an answer from this gallery after now."""
        before = len(self.answers)
        deadline = time.monotonic() + DEADLINE
        while {number for number, _, found, _ in self.answers[before:] if found == gallery} != {0, 1, 2}:
            assert self.failures == []
            assert time.monotonic() < deadline, f"gallery {gallery!r} does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, number: int) -> None:
        try:
            self._search(number)
        # Told at once, and not by a client that is missed two minutes later.
        except Exception as error:  # noqa: BLE001
            self.failures.append(repr(error))

    def _search(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=DEADLINE) as http:
            while not self._stopped.is_set():
                body, headers = self._bodies[self._spaces[number]]
                answer = http.post("/search?limit=1", content=body, headers=headers)
                if answer.status_code == 409:
                    self._spaces[number] = answer.json()["expected"]
                    continue
                found = answer.json()
                best = found["hits"][0]["id"] if answer.status_code == 200 else answer.text
                self.answers.append((number, answer.status_code, found.get("gallery", ""), best))
                time.sleep(0.01)
