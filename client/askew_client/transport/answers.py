"""Reading a server's answer: a model of the contract, or the error for a problem."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from askew_client.calls.call import Answer
from askew_client.contract.errors import (
    EncoderRefused,
    Forbidden,
    NotFound,
    Overloaded,
    ProblemError,
    RateLimited,
    ServerError,
    SpaceMismatch,
    Unauthorised,
)
from askew_client.contract.problems import Problem, ProblemKind
from askew_client.transport.retry_after import seconds_of

Model = TypeVar("Model", bound=BaseModel)

_BY_SLUG: dict[str, type[ProblemError]] = {
    ProblemKind.FORBIDDEN.slug: Forbidden,
    ProblemKind.SPACE_MISMATCH.slug: SpaceMismatch,
    ProblemKind.ENCODER_REFUSED.slug: EncoderRefused,
    ProblemKind.NO_ENCODER_FITS.slug: NotFound,
    ProblemKind.NO_OFFLINE_PACK.slug: NotFound,
}


def read_answer(response: httpx.Response, answer: type[Answer]) -> Answer:
    """The answer as the type that the call expects. Raises ServerError, or what `check_status` raises."""
    check_status(response)
    if issubclass(answer, bytes):
        return cast(Answer, response.content)
    if issubclass(answer, str):
        return cast(Answer, response.text)
    return cast(Answer, _read_model(response, cast(type[BaseModel], answer)))


def _read_model(response: httpx.Response, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise ServerError(
            f"Expected Askew's {model.__name__} from {response.url}, got something else ({where}: {first['msg']}). "
            "Is this an Askew server, and of the same version as this client?"
        ) from None


def check_status(response: httpx.Response) -> None:
    """Raise the ProblemError for an answer, unless its status is a success."""
    if response.is_success:
        return
    problem = _problem_of(response)
    if problem.status in {429, 503} and problem.slug != ProblemKind.DAMAGED_GALLERY.slug:
        is_limited = problem.slug == ProblemKind.RATE_LIMITED.slug
        raise (RateLimited if is_limited else Overloaded)(problem, _retry_after(response))
    if problem.status == 401:
        raise Unauthorised(problem)
    if problem.status == 404 and problem.slug.startswith("unknown-"):
        raise NotFound(problem)
    raise _BY_SLUG.get(problem.slug, ProblemError)(problem)


def _problem_of(response: httpx.Response) -> Problem:
    """The answer's problem. For an answer of a proxy or another server, a problem that describes it."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        pass
    else:
        if problem.detail.strip():
            # What the body claims is not always what came: the status line decides.
            return problem.model_copy(update={"status": response.status_code})
    came = _printable(response.headers.get("content-type", "").partition(";")[0]) or "no content"
    status = f"{response.status_code} {_phrase(response.status_code)}".strip()
    advice = "Is there a proxy in front of the server, or is this another server?"
    if response.has_redirect_location:
        named = _printable(response.headers["location"])
        advice = f"Redirects are not followed; use the address that the answer names: {named}"
    detail = f"Expected an answer of an Askew server, but {response.url} answered {status} with {came}. {advice}"
    return Problem(type="about:blank", title=status, status=response.status_code, detail=detail)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds in Retry-After; None without it."""
    return seconds_of(response.headers.get("retry-after", ""))


def _printable(text: str) -> str:
    """A text of a server for a message: short, and without control characters."""
    return "".join(character for character in text if character.isprintable())[:300]
