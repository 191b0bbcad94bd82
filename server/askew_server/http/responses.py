"""Answers that routes share: JSON, jobs, files."""

from __future__ import annotations

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
