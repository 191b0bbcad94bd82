"""Reading a server's answer: a model of the contract, or the error for a problem."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from askew_client.calls.call import Answer
from askew_client.contract import errors
from askew_client.contract.problems import Problem, ProblemKind
from askew_client.transport.retry_after import seconds_of

Model = TypeVar("Model", bound=BaseModel)

_BY_KIND: dict[ProblemKind, type[errors.ProblemError]] = {
    ProblemKind.UNAUTHORISED: errors.Unauthorised,
    ProblemKind.FORBIDDEN: errors.Forbidden,
    ProblemKind.PHOTO_SEARCH_OFF: errors.PhotoSearchOff,
    ProblemKind.UNKNOWN_GALLERY: errors.UnknownGallery,
    ProblemKind.UNKNOWN_ITEM: errors.UnknownItem,
    ProblemKind.UNKNOWN_ENCODER: errors.UnknownEncoder,
    ProblemKind.UNKNOWN_JOB: errors.UnknownJob,
    ProblemKind.UNKNOWN_ALIAS: errors.UnknownAlias,
    ProblemKind.UNKNOWN_KEY: errors.UnknownKey,
    ProblemKind.UNKNOWN_SNAPSHOT: errors.UnknownSnapshot,
    ProblemKind.UNKNOWN_PROBE: errors.UnknownProbe,
    ProblemKind.NO_ENCODER_FITS: errors.NoEncoderFits,
    ProblemKind.NO_OFFLINE_PACK: errors.NoOfflinePack,
    ProblemKind.SPACE_MISMATCH: errors.SpaceMismatch,
    ProblemKind.ENCODER_NOT_ADMITTED: errors.EncoderNotAdmitted,
    ProblemKind.CANNOT_DESCRIBE: errors.CannotDescribe,
    ProblemKind.ENCODER_REFUSED: errors.EncoderRefused,
    ProblemKind.DAMAGED_GALLERY: errors.GalleryDamaged,
    ProblemKind.RATE_LIMITED: errors.RateLimited,
}
_BY_SLUG = {kind.slug: error for kind, error in _BY_KIND.items()}
_BY_STATUS: dict[int, type[errors.ProblemError]] = {
    **dict.fromkeys((400, 405, 408, 413, 415, 422, 431), errors.InvalidRequest),
    404: errors.NotFound,
    409: errors.Conflict,
    500: errors.ServerFailed,
    507: errors.InsufficientStorage,
}
"""The errors of Askew's other kinds of problem, those of newer servers included."""
_OF_ANY_SERVER: dict[int, type[errors.ProblemError]] = {
    401: errors.Unauthorised,
    429: errors.Overloaded,
    503: errors.Overloaded,
}
"""What a status means from a proxy, too. A proxy's 404 says nothing of galleries or items."""


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
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise errors.ServerError(
            f"Expected Askew's {model.__name__} from {response.url}, got something else ({where}: {first['msg']}). "
            "Is this an Askew server, and of the same version as this client?"
        ) from None


def check_status(response: httpx.Response) -> None:
    """Raise the ProblemError for an answer, unless its status is a success."""
    if response.is_success:
        return
    problem = _problem_of(response)
    error = error_class(problem)
    if issubclass(error, errors.Overloaded):
        raise error(problem, seconds_of(response.headers.get("retry-after", "")))
    raise error(problem)


def error_class(problem: Problem) -> type[errors.ProblemError]:
    """The class of the error for a problem: of its kind, else of its status."""
    is_ours = problem.type.endswith(f"/problems/{problem.slug}")
    known = _BY_SLUG.get(problem.slug) if is_ours else None
    if known is not None:
        return known
    if problem.status in _OF_ANY_SERVER:
        return _OF_ANY_SERVER[problem.status]
    return _BY_STATUS.get(problem.status, errors.ProblemError) if is_ours else errors.ProblemError


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


def _printable(text: str) -> str:
    """A text of a server for a message: short, and without control characters."""
    return "".join(character for character in text if character.isprintable())[:300]
