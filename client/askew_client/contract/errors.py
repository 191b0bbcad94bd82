"""The errors behind `askew_client.errors`, where their tree is drawn."""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING

from askew_client.contract.problems import Problem, ProblemKind

if TYPE_CHECKING:
    from askew_client.contract.jobs import Job


class AskewError(Exception):
    """The root of all errors that Askew raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle type, message and attributes. Exceptions by default call the constructor with the message alone."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class PhotoError(AskewError):
    """A photo that cannot be described."""


class UnreadablePhoto(PhotoError):
    """The bytes are not a photo, are truncated or empty, or are in a format that Askew does not read."""


class PhotoTooLarge(PhotoError):
    """The photo has more pixels than allowed; this is checked before it is decoded."""


class PhotoTooThin(PhotoError):
    """The photo's shorter side would be below 32 px at the encoder's photo size."""


class EncoderError(AskewError):
    """A file that cannot serve as an encoder."""


class NotAnEncoder(EncoderError):
    """The file is not an ONNX file, or has no Askew manifest."""


class DamagedEncoder(EncoderError):
    """The file's digest does not match its bytes, or it does not compute its golden vectors."""


class UnknownManifest(EncoderError):
    """The manifest's format version is newer than this Askew."""


class EncoderFailed(EncoderError):
    """The engine failed while it described a photo: the encoder's network cannot process it."""


class EngineMissing(EncoderError):
    """No onnxruntime is installed, or two that overwrite each other are."""


class WireError(AskewError):
    """A vector that cannot be sent or read.

    `kind`: the problem that a server answers with. `extras`: the typed members of that problem.
    """

    def __init__(self, kind: ProblemKind, detail: str, extras: dict[str, object] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.extras = extras or {}


class DamagedSnapshot(AskewError):
    """A snapshot file that cannot be read, or whose SHA-256 is not the one that the server states."""


class DamagedPack(AskewError):
    """An offline pack that cannot be read: damaged, cut, another kind of file, or not what the server states."""


class ClientMisused(AskewError):
    """A closed client, an AsyncClient outside of its event loop, or a text that cannot be an API key."""


class ServerError(AskewError):
    """Talking to a server failed."""


class ServerUnreachable(ServerError):
    """No connection to the server, or no answer in time."""


class JobFailed(ServerError):
    """A job ended without a result: it failed or was cancelled. `job`: its last state."""

    def __init__(self, job: Job) -> None:
        reason = job.problem.detail if job.problem else f"The job {job.id} ({job.kind}) was {job.state}."
        super().__init__(reason)
        self.job = job


class JobUnfinished(ServerError):
    """A job was not finished within the time to wait for it; it continues. `job`: its state at that moment."""

    def __init__(self, job: Job, timeout: float) -> None:
        total = "" if job.total is None else f" of {job.total}"
        super().__init__(
            f"The job {job.id} ({job.kind}) is {job.state} after {timeout:g} s, {job.done}{total} done. Wait longer, "
            "or cancel it."
        )
        self.job = job


class ProblemError(ServerError):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status


class Unauthorised(ProblemError):
    """The request had no key, or one that the server does not know (401)."""


class Forbidden(ProblemError):
    """The key may not do that, or not with this gallery (403)."""


class SpaceMismatch(ProblemError):
    """The query names another space than the gallery's (409)."""


class NotFound(ProblemError):
    """Unknown gallery, item, encoder, job, snapshot, alias, key or probe, or no encoder that fits (404)."""


class EncoderRefused(ProblemError):
    """The admission gate refused the encoder (422); its report is in `problem.extras`."""


class Overloaded(ProblemError):
    """The server was busy or not ready (429, 503) at every attempt. `retry_after`: seconds, if it named them."""

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    """This key makes more requests than it may (429)."""


def sentence_of(error: Exception) -> str:
    """What the command line prints for an error: its message, or a sentence made from it."""
    if isinstance(error, Unauthorised):
        return f"{error} Give the key with --key, or in ASKEW_KEY."
    if isinstance(error, AskewError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return f"{type(error).__name__}: {error}. Set ASKEW_DEBUG=1 to see where this comes from."
