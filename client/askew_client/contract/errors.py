"""The errors behind `askew_client.errors`, where their tree is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askew_client.contract.problems import Problem, ProblemKind

if TYPE_CHECKING:
    from askew_client.contract.jobs import Job


class AskewError(Exception):
    """The root of all errors that Askew raises on purpose."""


class PhotoError(AskewError):
    """A photo that cannot be described."""


class UnreadablePhoto(PhotoError):
    """The bytes are no photo, are truncated or empty, or are of a format that is not admitted."""


class PhotoTooLarge(PhotoError):
    """The photo has more pixels than the bound, checked before it is decoded."""


class PhotoTooThin(PhotoError):
    """The photo's shorter side falls under 32 px at the encoder's photo size."""


class EncoderError(AskewError):
    """A file that cannot serve as an encoder."""


class NotAnEncoder(EncoderError):
    """The file is no ONNX file, or has no Askew manifest."""


class DamagedEncoder(EncoderError):
    """The file's digest does not fit its bytes, or its golden vectors do not come out."""


class UnknownManifest(EncoderError):
    """The manifest's format version is newer than this Askew."""


class EngineMissing(EncoderError):
    """No onnxruntime is installed, or two that overwrite each other are."""


class WireError(AskewError):
    """A vector that cannot be sent or read.

    `kind` says which problem a server answers with, `extras` are the typed members of that problem.
    """

    def __init__(self, kind: ProblemKind, detail: str, extras: dict[str, object] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.extras = extras or {}


class DamagedSnapshot(AskewError):
    """A snapshot file that cannot be read, or whose bytes have not the digest that the server states."""


class ClientMisused(AskewError):
    """A client that was closed, an AsyncClient outside of the event loop that it belongs to, or a text that is no key."""


class ServerError(AskewError):
    """Talking to a server failed."""


class ServerUnreachable(ServerError):
    """No connection to the server, or no answer in time."""


class JobFailed(ServerError):
    """A job ended without its result: it failed, or somebody cancelled it."""

    def __init__(self, job: Job) -> None:
        reason = job.problem.detail if job.problem else f"The job {job.id} ({job.kind}) was {job.state}."
        super().__init__(reason)
        self.job = job


class JobUnfinished(ServerError):
    """A job was still at work when the time to wait for it was over; it goes on."""

    def __init__(self, job: Job, timeout: float) -> None:
        total = "" if job.total is None else f" of {job.total}"
        super().__init__(
            f"The job {job.id} ({job.kind}) is {job.state} after {timeout:g} s, {job.done}{total} done. Wait longer, or "
            "cancel it."
        )
        self.job = job


class ProblemError(ServerError):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status


class Unauthorised(ProblemError):
    """No key came, or one that the server does not know (401)."""


class Forbidden(ProblemError):
    """The key may not do that, or not with this gallery (403)."""


class SpaceMismatch(ProblemError):
    """The query names another space than the gallery's (409)."""


class NotFound(ProblemError):
    """Unknown gallery, item, encoder, job, snapshot, alias, key or probe, or no encoder that fits (404)."""


class EncoderRefused(ProblemError):
    """The admission gate refused the encoder (422); its report is in `problem.extras`."""


class Overloaded(ProblemError):
    """The server is busy or not ready (429, 503), and stayed so through all retries."""

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    """This key asks more often than it may (429)."""


def sentence_of(error: Exception) -> str:
    """What the command line says of an error: its own sentence, or one made for it."""
    if isinstance(error, Unauthorised):
        return f"{error} Give the key with --key, or in ASKEW_KEY."
    if isinstance(error, AskewError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return f"{type(error).__name__}: {error}. Set ASKEW_DEBUG=1 to see where this comes from."
