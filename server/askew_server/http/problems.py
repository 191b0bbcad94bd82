"""Problems as HTTP answers: every error on every path becomes `application/problem+json`."""

from __future__ import annotations

import logging
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from askew_client.contract.problems import MEDIA_TYPE, Problem, ProblemKind
from askew_client.errors import AskewError
from askew_server.http.context import RequestContext, request_id_of
from askew_server.http.root_path import prefix_of
from askew_server.problems import ErrorReport, report_details, report_error
from askew_server.storage.errors import DatabaseError

_BY_STATUS = {404: ProblemKind.UNKNOWN_PATH, 413: ProblemKind.PAYLOAD_TOO_LARGE}


class ProblemAnswer(Response):
    """A problem as an answer; its slug is left in the record of the request that it answers."""

    def __init__(self, report: ErrorReport, request_id: str | None, *, status: int | None = None) -> None:
        """`status`: where it is not the kind's own."""
        self._problem = report.problem(request_id)
        if status is not None:
            self._problem = self._problem.model_copy(update={"status": status})
        headers = {} if report.retry_after is None else {"Retry-After": str(report.retry_after)}
        super().__init__(self._problem.model_dump_json(), self._problem.status, headers, MEDIA_TYPE)
        self.slug = report.kind.slug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        context = scope.get("askew")
        if isinstance(context, RequestContext):
            context.record.problem = self.slug
        prefix = prefix_of(scope)
        if prefix:
            self.body = below_prefix(self._problem, prefix).model_dump_json().encode()
            self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def below_prefix(problem: Problem, prefix: str) -> Problem:
    """A problem whose `type` is an address of a server behind a path prefix."""
    return problem.model_copy(update={"type": f"{prefix}/problems/{problem.slug}"})


def answer_error(error: Exception, scope: Scope) -> ProblemAnswer:
    """The answer to an exception. An unexpected one is logged with its traceback."""
    request_id = request_id_of(scope)
    context = scope.get("askew")
    # Before the guard has decided, nobody is told names.
    seen = context.access.galleries if isinstance(context, RequestContext) else frozenset()
    report = report_error(error, f"request {request_id}", seen)
    if not report.is_foreseen:
        logging.getLogger("askew.server").error("request %s failed", request_id, exc_info=error)
    return ProblemAnswer(report, request_id)


def install_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every exception with a problem, FastAPI's and Starlette's own included."""
    for kind in (AskewError, OSError, DatabaseError, MemoryError, ValidationError):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    # Starlette answers with this and raises the error again; the limits log it.
    app.add_exception_handler(Exception, _answer_unforeseen)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_request_error)


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_error(error, request.scope)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return _NoAnswer()


async def _answer_unforeseen(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request.scope)
    return ProblemAnswer(report_error(error, f"request {request_id}"), request_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    kind = _BY_STATUS.get(error.status_code, ProblemKind.HTTP)
    detail = no_such_path(request.scope["path"]) if kind is ProblemKind.UNKNOWN_PATH else str(error.detail)
    answer = ProblemAnswer(ErrorReport(kind, detail), request_id_of(request.scope), status=error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _answer_request_error(request: Request, error: Exception) -> Response:
    report = report_details(cast(RequestValidationError, error).errors())
    return ProblemAnswer(report, request_id_of(request.scope))


class _NoAnswer(Response):
    """For a client that has gone: an answer would be counted, and logged, as an error of the server."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


def no_such_path(path: str) -> str:
    """The sentence for a path that no route matches."""
    return f"No route matches {path[:200]}. GET /openapi.json lists the routes."
