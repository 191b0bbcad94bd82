"""Clients that write, replace and delete items through an alias continuously, while its gallery's teacher is changed.

They know what was acknowledged, and try again whatever was not: after 503, and after a server that was killed.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from askew_client.contract.jobs import ENDED_STATES
from tests.support.job_waiting import DEADLINE, wait_for_job

ITEMS = "/v1/galleries/live/items"


class GivenUp(Exception):
    """Nobody waits for the writers any more."""


class AliasWriters:
    """Some writers of single items, and one that sends jobs of photos.

    `expected`: the number in the payload of each item whose last change was acknowledged; None if that was its deletion.
    `held`: the Retry-After of each change that was refused because the gallery was held.
    """

    def __init__(self, url: str, photo: bytes, owned: list[str], *, writers: int = 2) -> None:
        """`photo`: that items get, with different bytes at its end. `owned`: ids of items that are there already."""
        self._url = url
        self._photo = photo
        self.expected: dict[str, int | None] = {}
        self.held: list[int] = []
        self.jobs: list[str] = []
        self._count = 0
        self._counting = threading.Lock()
        self._stopped = threading.Event()
        self._given_up = threading.Event()
        self.failures: list[str] = []
        parts = [owned[number::writers] for number in range(writers)]
        self._threads = [
            threading.Thread(target=self._guarded, args=(partial(self._write, number, part),))
            for number, part in enumerate(parts)
        ]
        self._threads.append(threading.Thread(target=self._guarded, args=(self._send_jobs,)))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was begun."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def give_up(self) -> None:
        """Finish nothing: there is no server any more. `check` has no meaning then."""
        self._given_up.set()
        self.stop()

    def check(self, http: httpx.Client) -> None:
        """Check that the alias's gallery has what was acknowledged, and nothing that was deleted."""
        assert self.failures == []
        for job_id in self.jobs:
            job = wait_for_job(http, job_id)
            assert (job["state"], job["result"]["refused"]) == ("done", 0), job
        wrong = {}
        for identity, number in self.expected.items():
            answer = http.get(f"{ITEMS}/{identity}")
            found = answer.json()["payload"]["number"] if answer.status_code == 200 else None
            if found != number:
                wrong[identity] = (number, found)
        assert wrong == {}
        assert None in self.expected.values()
        assert len(self.expected) > 10

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except GivenUp:
            return
        except BaseException as error:
            self.failures.append(repr(error))
            raise

    def _number(self) -> int:
        with self._counting:
            self._count += 1
            return self._count

    def _write(self, writer: int, owned: list[str]) -> None:
        draw = random.Random(writer)
        ids = [*owned, *(f"writer-{writer}-{number}" for number in range(8))]
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._stopped.is_set():
                identity = draw.choice(ids)
                if draw.random() < 0.3:
                    self._until_done(partial(http.delete, f"{ITEMS}/{identity}"), 200, 404)
                    self.expected[identity] = None
                else:
                    number = self._number()
                    options: dict[str, Any] = {
                        "content": self._bytes(number),
                        "params": {"payload": json.dumps({"number": number})},
                        "headers": {"Content-Type": "image/jpeg"},
                    }
                    self._until_done(partial(http.put, f"{ITEMS}/{identity}", **options), 200)
                    self.expected[identity] = number
                time.sleep(0.05)

    def _send_jobs(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._stopped.is_set():
                numbers = [self._number() for _ in range(3)]
                files = [("photo", (f"sent-{each}", self._bytes(each), "image/jpeg")) for each in numbers]
                payloads = json.dumps({f"sent-{each}": {"number": each} for each in numbers})
                answer = self._until_done(
                    partial(http.post, f"{ITEMS}/photos", files=files, data={"payloads": payloads}), 202
                )
                self.jobs.append(answer.json()["id"])
                self.expected |= {f"sent-{each}": each for each in numbers}
                self._wait_for_one(http)

    def _wait_for_one(self, http: httpx.Client) -> None:
        """Wait until the last job but one has ended: the server takes only so many."""
        while len(self.jobs) > 1 and not self._stopped.is_set():
            try:
                answer = http.get(f"/v1/jobs/{self.jobs[-2]}")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200 and answer.json()["state"] in ENDED_STATES:
                return
            self._stopped.wait(0.1)

    def _bytes(self, number: int) -> bytes:
        return self._photo + number.to_bytes(4, "big")

    def _until_done(self, send: Callable[[], httpx.Response], *accepted: int) -> httpx.Response:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                answer = send()
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code in accepted:
                return answer
            if self._given_up.is_set():
                raise GivenUp
            assert answer is None or answer.status_code in (429, 503), answer.text
            assert time.monotonic() < deadline, "the server takes no changes"
            if answer is not None and answer.json()["type"] == "/problems/gallery-held":
                self.held.append(int(answer.headers["retry-after"]))
            # As soon as possible, which is the hardest case: well-behaved clients wait for Retry-After.
            time.sleep(0.02)
