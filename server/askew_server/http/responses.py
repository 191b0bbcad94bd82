"""Answers that routes share: JSON, jobs, files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from askew_client.contract.jobs import Job
from askew_client.contract.problems import ProblemKind
from askew_server.http.context import request_id_of
from askew_server.http.problems import ProblemAnswer, below_prefix
from askew_server.http.root_path import prefix_of, relative_to
from askew_server.problems import ErrorReport


class FileAnswer(FileResponse):
    """A whole file, or the requested range of it. A bad range is answered with a problem, as every error is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        refused: list[Message] = []

        async def send_unless_refused(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused.append(message)
            if not refused:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused:
            detail = "Expected in the header Range bytes that this file has, such as `bytes=0-1023`. Leave it out for the whole."
            report = ErrorReport(ProblemKind.HTTP, detail)
            answer = ProblemAnswer(report, request_id_of(scope), status=refused[0]["status"])
            answer.raw_headers += [pair for pair in refused[0]["headers"] if pair[0] == b"content-range"]
            await answer(scope, receive, send)


Parts = list[bytes]
"""A body in parts, which are sent one after the other."""

_BYTES_OF_A_PART = 64 * 1024
_BYTES_OF_A_WRITE = 256 * 1024


async def joined(parts: Iterator[bytes]) -> Parts:
    """Parts joined to larger ones, in steps between which the event loop serves others; long ones are not copied."""
    ready: Parts = []
    waiting: Parts = []
    size = 0
    for part in parts:
        if len(part) >= _BYTES_OF_A_PART:
            ready += [b"".join(waiting), part]
            waiting, size = [], 0
            await asyncio.sleep(0)
            continue
        waiting.append(part)
        size += len(part)
        if size >= _BYTES_OF_A_PART:
            ready.append(b"".join(waiting))
            waiting, size = [], 0
            await asyncio.sleep(0)
    return [*ready, b"".join(waiting)]


async def send_parts(parts: Parts, send: Send) -> None:
    """Send a body in parts, as fast as the client reads it. Each part is forgotten once it is sent."""
    parts.reverse()
    while parts:
        part = parts.pop()
        if len(part) <= _BYTES_OF_A_WRITE:
            await send({"type": "http.response.body", "body": part, "more_body": bool(parts)})
        else:
            # Without copying: the part may be tens of megabytes.
            view = memoryview(part)
            for start in range(0, len(view), _BYTES_OF_A_WRITE):
                piece = bytes(view[start : start + _BYTES_OF_A_WRITE])
                more = bool(parts) or start + _BYTES_OF_A_WRITE < len(view)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                await asyncio.sleep(0)
        if parts:
            await asyncio.sleep(0)


class JsonInParts(Response):
    """JSON in parts. An answer in one part is sent as any other."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(None, 200, {"Content-Length": str(sum(map(len, parts)))}, "application/json")
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send_parts(self._parts, send)


def json_answer(answer: BaseModel, status: int = 200) -> Response:
    """An answer as JSON; members that are absent are left out."""
    return Response(answer.model_dump_json(exclude_none=True), status, media_type="application/json")


class _AcceptedJob(Response):
    """202 and a job. `Location` is relative to the request's address, so that it stays below a path prefix."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.model_dump_json(exclude_none=True), 202, media_type="application/json")
        self._address = f"/v1/jobs/{job.id}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self.headers["Location"] = relative_to(scope, self._address)
        await super().__call__(scope, receive, send)


def job_answer(job: Job) -> Response:
    """202 and the job; `Location` is its address."""
    return _AcceptedJob(job)


def job_of(job: Job, request: Request) -> Job:
    """A job as the sender of a request sees it: the `type` of its problem is an address below the path prefix."""
    prefix = prefix_of(request.scope)
    if not prefix or job.problem is None:
        return job
    return job.model_copy(update={"problem": below_prefix(job.problem, prefix)})


def is_known(request: Request, etag: str) -> bool:
    """Whether the client already has this version of the file."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in known
