"""kill -9 at random moments under a mixed load; afterwards the server must have exactly what it acknowledged.

`python tests/crash/mixed_load.py --kills 100 --seed 7` runs it alone; `make soak` calls `run`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

# This file is also a program.
sys.path.insert(0, str(Path(__file__).parents[2]))

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.wire import pack_base64
from tests.support.gallery_files import item_json, unit_vector, write_gallery
from tests.support.running_server import RunningServer, start_askew
from tests.support.small_encoders import make_encoder

WRITERS = 3
IDS_OF_WRITER = 400
LARGEST_BATCH = 40
LONGEST_LOAD = 1.2
"""Seconds of load before a kill, at most."""
KILLED_WHILE_STARTING = 0.2
"""The share of kills that are preceded by a kill of a server that starts."""
CHECKED_TOGETHER = 500
GALLERY = "/v1/galleries/default"

State = dict[str, int | None]
"""The seed of each item's vector, by id; None for one that was deleted."""


@dataclass
class Report:
    """What a run did, and every difference between what was acknowledged and what was found."""

    kills: int = 0
    kills_while_starting: int = 0
    writes: int = 0
    deletes: int = 0
    searches: int = 0
    undecided: int = 0
    items: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Writer:
    """One client that writes. No other client uses its ids, so that it knows what each of them must be."""

    name: str
    random: random.Random
    known: State = field(default_factory=dict)
    pending: State = field(default_factory=dict)
    writes: int = 0
    deletes: int = 0

    def work(self, url: str, space: str, ending: threading.Event) -> None:
        """Write and delete until the server is gone. A request without an answer stays in `pending`."""
        with httpx.Client(base_url=url, timeout=30) as http:
            while not ending.is_set():
                self.pending = self._next()
                try:
                    answer = self._send(http, space)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    self.known |= self.pending
                    if None in self.pending.values():
                        self.deletes += 1
                    else:
                        self.writes += 1
                elif answer.status_code not in {404, 429, 503}:
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
                self.pending = {}

    def settle(self, found: dict[str, int]) -> list[str]:
        """Decide whether the request without an answer was committed, all or nothing; returns the remaining differences."""
        own = {item: seed for item, seed in found.items() if item.startswith(f"{self.name}-")}
        after = {**self.known, **self.pending}
        outcomes = [{item: seed for item, seed in state.items() if seed is not None} for state in (self.known, after)]
        if own not in outcomes:
            expected = outcomes[0]
            return [
                f"{item}: expected {expected.get(item)} (or {self.pending.get(item)}), found {own.get(item)}"
                for item in sorted({*expected, *own})
                if expected.get(item) != own.get(item)
            ][:5]
        if own == outcomes[1]:
            self.known = after
        self.pending = {}
        return []

    def _next(self) -> State:
        chosen = [
            f"{self.name}-{self.random.randrange(IDS_OF_WRITER)}"
            for _ in range(self.random.choice([1, 1, 5, LARGEST_BATCH]))
        ]
        living = [item for item, seed in self.known.items() if seed is not None]
        if living and self.random.random() < 0.3:
            return {self.random.choice(living): None}
        return {item: self.random.randrange(1 << 31) for item in chosen}

    def _send(self, http: httpx.Client, space: str) -> httpx.Response:
        (first, seed), *_ = self.pending.items()
        if seed is None:
            return http.delete(f"{GALLERY}/items/{first}")
        return http.put(f"{GALLERY}/items", json={"space": space, "items": stored(self.pending)})


class Searcher:
    """A client that searches during the writes: every answer must be valid."""

    def __init__(self) -> None:
        self.count = 0
        self.faults: list[str] = []

    def work(self, url: str, space: str, ending: threading.Event) -> None:
        """Search until the server is gone."""
        with httpx.Client(base_url=url, timeout=30) as http:
            while not ending.is_set():
                query = {"vector": pack_base64(unit_vector(self.count)), "dtype": "f16le", "space": space, "limit": 5}
                try:
                    answer = http.post("/search", json=query)
                except httpx.TransportError:
                    return
                if answer.status_code not in {200, 429, 503}:
                    self.faults.append(f"search: {answer.status_code} {answer.text[:200]}")
                    return
                self.count += 1


def run(kills: int, seed: int, data: Path | None = None, *, longest_load: float = LONGEST_LOAD) -> Report:
    """Kill a server `kills` times under load, and compare after each. Raises AssertionError for a broken server."""
    if data is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(kills, seed, Path(folder) / "data", longest_load=longest_load)
    chance = random.Random(seed)
    report = Report()
    teacher = make_encoder(data.parent / "crash-teacher.onnx", role="teacher")
    space = read_encoder_file(teacher).manifest.space_id
    write_gallery(data, "default", teacher)
    with RunningServer(data) as first:
        writers = [Writer(f"w{number}", random.Random(seed + number)) for number in range(WRITERS)]
        _fill(first, writers, space)
    searcher = Searcher()

    def has_worked() -> bool:
        written, deleted = sum(writer.writes for writer in writers), sum(writer.deletes for writer in writers)
        return min(written, deleted, searcher.count) > 0

    for number in range(kills):
        if chance.random() < KILLED_WHILE_STARTING:
            _kill_while_starting(data, chance.uniform(0.0, 0.5))
            report.kills_while_starting += 1
        server = RunningServer(data)
        report.faults += _compare(server, writers, space, report)
        # On a busy machine the times before the kills may be too short for any answer; the last one waits for some.
        is_enough = has_worked if number == kills - 1 else None
        _load(server, [*writers, searcher], space, chance.uniform(0.02, longest_load), is_enough)
        report.kills += 1
        if report.faults:
            break
    with RunningServer(data) as last:
        report.faults += _compare(last, writers, space, report)
    report.faults += searcher.faults
    report.searches = searcher.count
    report.writes = sum(writer.writes for writer in writers)
    report.deletes = sum(writer.deletes for writer in writers)
    return report


def stored(state: State) -> list[dict[str, object]]:
    """Items as they are sent, each with the vector of its seed."""
    return [item_json(item, seed, seed=seed) for item, seed in state.items() if seed is not None]


def _fill(server: RunningServer, writers: list[Writer], space: str) -> None:
    """Enough items for an index with all its parts: a mapped main segment, a tail, and removed vectors."""
    for writer in writers:
        writer.known = {f"{writer.name}-{number}": writer.random.randrange(1 << 31) for number in range(IDS_OF_WRITER)}
        answer = server.http.put(f"{GALLERY}/items", json={"space": space, "items": stored(writer.known)})
        assert answer.status_code == 200, answer.text
    answer = server.http.put(f"{GALLERY}/index", json={"kind": "two-stage"})
    assert answer.status_code == 200, answer.text
    deadline = time.monotonic() + 120
    while server.http.get(f"{GALLERY}/index").json()["main"] == 0:
        assert time.monotonic() < deadline, "the index was not built"
        time.sleep(0.1)


def _load(
    server: RunningServer,
    clients: list[Writer | Searcher],
    space: str,
    seconds: float,
    is_enough: Callable[[], bool] | None = None,
) -> None:
    ending = threading.Event()
    threads = [threading.Thread(target=client.work, args=(server.url, space, ending)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    deadline = time.monotonic() + 120
    while is_enough is not None and not is_enough() and time.monotonic() < deadline:
        time.sleep(0.05)
    server.kill()
    ending.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a client hangs on a killed server"
    server.http.close()
    assert server.process.stdout is not None
    server.process.stdout.close()


def _kill_while_starting(data: Path, seconds: float) -> None:
    process = start_askew("serve", "--data", data, "--port", "0")
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=60)


def _compare(server: RunningServer, writers: list[Writer], space: str, report: Report) -> list[str]:
    """Compare listing, vectors, count and searches with what was acknowledged."""
    faults = []
    found: dict[str, int] = {}
    cursor = ""
    while True:
        page = server.http.get(f"{GALLERY}/items?limit=1000&with_vectors=true{cursor}").json()
        for item in page["items"]:
            seed = item["payload"]["seed"]
            found[item["id"]] = seed
            if item["vector"] != pack_base64(unit_vector(seed)):
                faults.append(f"{item['id']}: its vector is not the one of its payload")
        if page.get("next_cursor") is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    report.undecided += sum(bool(writer.pending) for writer in writers)
    for writer in writers:
        faults += writer.settle(found)
    count = server.http.get(GALLERY).json()["items"]
    if count != len(found):
        faults.append(f"the gallery states {count} items, and lists {len(found)}")
    report.items = len(found)
    return faults + _search_all(server, found, space)


def _search_all(server: RunningServer, found: dict[str, int], space: str) -> list[str]:
    """Check that every stored vector finds its item first: then index and database agree."""
    faults = []
    items = list(found.items())
    for start in range(0, len(items), CHECKED_TOGETHER):
        some = items[start : start + CHECKED_TOGETHER]
        queries = [{"vector": pack_base64(unit_vector(seed)), "dtype": "f16le", "space": space} for _, seed in some]
        answer = server.http.post(f"{GALLERY}/search/batch", json={"queries": queries, "limit": 1, "exact": True})
        assert answer.status_code == 200, answer.text
        for (item, _), result in zip(some, answer.json()["results"], strict=True):
            best: dict[str, Any] = result["hits"][0] if result["hits"] else {"id": None, "score": 0.0}
            if best["id"] != item or best["score"] < 0.999:
                faults.append(f"{item}: its vector finds {best['id']} with {best['score']}")
    return faults[:5]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report = run(arguments.kills, arguments.seed)
    print(report)
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
