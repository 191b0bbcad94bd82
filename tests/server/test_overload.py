"""Many clients at once: right answers or a 429 that says when to come back, never a wrong answer or a failure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from problem_shape import assert_problem
from running_server import RunningServer

from askew_client.contract.wire import pack
from askew_client.encoder import Encoder


def _ask(url: str, requests: list[tuple[str, bytes]], headers: dict[str, str]) -> list[tuple[str, httpx.Response]]:
    with httpx.Client(base_url=url, timeout=30) as client:
        return [(name, client.post("/search?limit=1", content=body, headers=headers)) for name, body in requests]


def _requests(teacher: Encoder, indexed: Path) -> list[tuple[str, bytes]]:
    photos = sorted((indexed / "photos").iterdir())[:20]
    return [(photo.stem, pack(vector)) for photo, vector in zip(photos, teacher.encode(photos), strict=True)]


def test_sixteen_clients_get_their_own_answers_while_items_change(
    server: RunningServer, teacher: Encoder, indexed: Path, headers: dict[str, str]
) -> None:
    requests = _requests(teacher, indexed)
    vector = np.eye(1, 64, dtype=np.float32)[0].tolist()
    with ThreadPoolExecutor(17) as clients:
        asked = [clients.submit(_ask, server.url, requests, headers) for _ in range(16)]
        items = "/v1/galleries/objects/items"
        for number in range(30):
            upsert = {"space": teacher.space_id, "items": [{"id": f"busy-{number}", "vector": vector}]}
            assert server.http.put(items, json=upsert).status_code == 200
            assert server.http.delete(f"{items}/busy-{number}").status_code == 200
        for answers in asked:
            assert [(name, answer.json()["hits"][0]["id"]) for name, answer in answers.result()] == [
                (name, name) for name, _ in requests
            ]


def test_past_the_bound_requests_are_refused_with_retry_after(
    data: Path, teacher: Encoder, indexed: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASKEW_MAX_WAITING", "1")
    requests = _requests(teacher, indexed)
    with RunningServer(data, "--gallery", "objects") as running, ThreadPoolExecutor(16) as clients:
        asked = [clients.submit(_ask, running.url, requests, headers) for _ in range(16)]
        answers = [pair for future in asked for pair in future.result()]
        assert {answer.status_code for _, answer in answers} == {200, 429}
        for name, answer in answers:
            if answer.status_code == 200:
                assert answer.json()["hits"][0]["id"] == name
            else:
                assert_problem(answer, 429, "overloaded", "Try again")
                assert answer.headers["retry-after"] == "1"
        assert running.http.post("/search", content=requests[0][1], headers=headers).status_code == 200
