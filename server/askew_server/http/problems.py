"""Problems and answers at the HTTP edge: every error on every path becomes `application/problem+json`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Receive, Scope, Send

from askew_client.contract.problems import MEDIA_TYPE, ProblemKind, problem_of
from askew_client.errors import AskewError, PhotoError, WireError
from askew_server.errors import Refusal
from askew_server.observability.request_record import RequestRecord
from askew_server.storage.errors import storage_problem

_BY_STATUS = {
    404: ProblemKind.UNKNOWN_PATH,
    405: ProblemKind.METHOD_NOT_ALLOWED,
    413: ProblemKind.PAYLOAD_TOO_LARGE,
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MOST_ERRORS = 20
_MOST_COUNTED = 1_000
"""Each costs Python some microseconds and a kilobyte, and a body may hold a million."""


def problem_answer(
    kind: ProblemKind,
    detail: str,
    extras: dict[str, object],
    request_id: str | None,
    *,
    status: int | None = None,
    retry_after: int | None = None,
) -> Response:
    """A problem as an answer; `status` where it is not the kind's own."""
    problem = problem_of(kind, detail, extras, request_id)
    if status is not None:
        problem = problem.model_copy(update={"status": status})
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    answer = _ProblemAnswer(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)
    answer.slug = kind.slug
    return answer


class _ProblemAnswer(Response):
    """A problem, which leaves its slug in the record of the request that it answers."""

    slug: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = scope.get("askew_call")
        if isinstance(call, RequestRecord):
            call.problem = self.slug
        await super().__call__(scope, receive, send)


def install_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every exception with a problem, FastAPI's and Starlette's own included."""
    app.add_exception_handler(AskewError, _askew_error)
    app.add_exception_handler(OSError, _storage_error)
    app.add_exception_handler(sqlite3.DatabaseError, _storage_error)
    app.add_exception_handler(Exception, _unforeseen_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _request_error)
    app.add_exception_handler(ValidationError, _validation_error)


async def problem_of_error(request: Request, error: Exception) -> Response:
    """The answer to an exception that comes out of a route, for those who answer without the framework."""
    if isinstance(error, ValidationError):
        return await _validation_error(request, error)
    if isinstance(error, AskewError):
        return await _askew_error(request, error)
    return await _storage_error(request, error)


def request_id_of(request: Request) -> str | None:
    """The id that this request is logged and answered under."""
    return cast("str | None", request.scope.get("askew_request_id"))


async def _askew_error(request: Request, error: Exception) -> Response:
    identity = request_id_of(request)
    if isinstance(error, Refusal):
        return problem_answer(error.kind, str(error), error.extras, identity, retry_after=error.retry_after)
    if isinstance(error, WireError):
        return problem_answer(error.kind, str(error), error.extras, identity)
    if isinstance(error, PhotoError):
        return problem_answer(ProblemKind.UNREADABLE_PHOTO, str(error), {"reason": type(error).__name__}, identity)
    return problem_answer(ProblemKind.INTERNAL, str(error), {}, identity)


async def _storage_error(request: Request, error: Exception) -> Response:
    problem = storage_problem(error)
    if problem is None:
        return await _unforeseen_error(request, error)
    return problem_answer(*problem, {}, request_id_of(request))


async def _unforeseen_error(request: Request, _: Exception) -> Response:
    identity = request_id_of(request)
    return problem_answer(ProblemKind.INTERNAL, f"The server failed; its log has request {identity}.", {}, identity)


async def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    kind = _BY_STATUS.get(error.status_code, ProblemKind.HTTP)
    detail = {
        ProblemKind.UNKNOWN_PATH: f"There is nothing at {request.url.path[:200]}. See /openapi.json for what there is.",
        ProblemKind.METHOD_NOT_ALLOWED: f"{request.url.path[:200]} does not take {request.method[:20]}.",
    }.get(kind, str(error.detail))
    answer = problem_answer(kind, detail, {}, request_id_of(request), status=error.status_code)
    answer.headers.update(error.headers or {})
    if kind is ProblemKind.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(_methods_of(request)) or "GET, HEAD"
    return answer


def _methods_of(request: Request) -> list[str]:
    """What a path takes. Starlette itself states the methods of the first of its routes; none for a folder of files."""
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


async def _request_error(request: Request, error: Exception) -> Response:
    return _validation(cast(RequestValidationError, error).errors(), request_id_of(request))


async def _validation_error(request: Request, error: Exception) -> Response:
    error = cast(ValidationError, error)
    count = error.error_count()
    if count > _MOST_COUNTED:
        detail = f"The body does not fit its schema in {count} places, too many to list. Is it meant for this path?"
        return problem_answer(ProblemKind.VALIDATION, detail, {"errors": []}, request_id_of(request))
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return _validation(errors, request_id_of(request))


def _validation(errors: Sequence[ErrorDetails], request_id: str | None) -> Response:
    first = errors[0]
    if first["type"] in {"json_invalid", "json_type"}:
        return problem_answer(ProblemKind.INVALID_JSON, f"Expected a JSON body: {first['msg']}.", {}, request_id)
    listed = [{"pointer": _pointer(error), "message": error["msg"]} for error in errors[:_MOST_ERRORS]]
    detail = f"{listed[0]['pointer'] or 'The body'}: {listed[0]['message']}."
    return problem_answer(ProblemKind.VALIDATION, detail, {"errors": listed}, request_id)


def _pointer(error: ErrorDetails) -> str:
    return "".join(f"/{part}" for part in error["loc"])
