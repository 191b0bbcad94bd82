"""The problem that each exception is reported as: one table for HTTP answers, raw searches and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from askew_client.contract.problems import Problem, ProblemKind, problem_of
from askew_client.errors import AskewError, EncoderError, EngineMissing, PhotoError, WireError
from askew_client.wording import describe_errors
from askew_server.errors import DamagedGallery, Refusal, UnknownGallery
from askew_server.storage.errors import storage_problem

MAX_LISTED = 20
"""Errors of one body that a problem lists."""
MAX_COUNTED = 1_000
"""Each costs Python some microseconds and a kilobyte, and a body may hold a million."""

_PASSING = {ProblemKind.OUT_OF_DESCRIPTORS, ProblemKind.OUT_OF_MEMORY}
"""Problems that may be over in a second."""


@dataclass(frozen=True)
class ErrorReport:
    """How an exception is reported. `is_foreseen`: no traceback needs to be logged."""

    kind: ProblemKind
    detail: str
    extras: dict[str, object] = field(default_factory=dict)
    retry_after: int | None = None
    is_foreseen: bool = True

    def problem(self, instance: str | None) -> Problem:
        """As it travels; `instance`: the request id."""
        return problem_of(self.kind, self.detail, self.extras, instance)


def report_error(error: Exception, subject: str, seen: frozenset[str] | None = frozenset()) -> ErrorReport:
    """What to report an exception as. `subject`: what the log names it by, such as "request 3f2a". `seen`: the
    galleries whose names may be told; None: all of them.
    """
    match error:
        case UnknownGallery():
            return ErrorReport(error.kind, error.sentence(seen), error.extras, error.retry_after)
        case Refusal():
            return ErrorReport(error.kind, str(error), error.extras, error.retry_after)
        case WireError():
            return ErrorReport(error.kind, str(error), error.extras)
        case PhotoError():
            return ErrorReport(ProblemKind.UNREADABLE_PHOTO, str(error), {"reason": type(error).__name__})
        case EngineMissing():
            return ErrorReport(ProblemKind.INTERNAL, str(error))
        case EncoderError():
            return ErrorReport(ProblemKind.NOT_AN_ENCODER, str(error), {"reason": type(error).__name__})
        case DamagedGallery():
            return ErrorReport(ProblemKind.DAMAGED_GALLERY, str(error))
        case AskewError():
            return ErrorReport(ProblemKind.INTERNAL, str(error))
        case ValidationError():
            return _report_invalid(error)
    storage = storage_problem(error)
    if storage is not None:
        retry_after = 1 if storage[0] in _PASSING else None
        return ErrorReport(*storage, retry_after=retry_after)
    detail = f"The server failed; its log has {subject}."
    return ErrorReport(ProblemKind.INTERNAL, detail, is_foreseen=False)


def report_details(errors: Sequence[ErrorDetails]) -> ErrorReport:
    """What the errors of one document, at least one, are reported as."""
    first = errors[0]
    if first["type"] in {"json_invalid", "json_type"}:
        return ErrorReport(ProblemKind.INVALID_JSON, f"Expected a JSON body: {first['msg']}.")
    faults = describe_errors(errors)[:MAX_LISTED]
    listed = [{"pointer": fault.pointer, "message": fault.sentence} for fault in faults]
    return ErrorReport(ProblemKind.VALIDATION, faults[0].sentence, {"errors": listed})


def _report_invalid(error: ValidationError) -> ErrorReport:
    count = error.error_count()
    if count > MAX_COUNTED:
        detail = f"The body does not fit its schema in {count} places, too many to list. Is it meant for this path?"
        return ErrorReport(ProblemKind.VALIDATION, detail, {"errors": []})
    return report_details(error.errors(include_url=False))
