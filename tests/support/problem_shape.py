"""The contract of every error: RFC 9457, always in the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Answer(Protocol):
    """An answer of httpx, or of Starlette's test client."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


def assert_problem(answer: Answer, status: int, slug: str, *words: str) -> dict[str, object]:
    """The answer is a problem of this status and kind, in sentences, without a traceback; returns it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, object] = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), answer.text
    assert problem["type"] == f"/problems/{slug}", answer.text
    assert problem["instance"] == answer.headers["x-request-id"]
    assert problem["title"]
    detail = str(problem["detail"])
    assert len(detail) > 20
    assert "Traceback" not in answer.text
    for word in words:
        assert word in detail, detail
    return problem
