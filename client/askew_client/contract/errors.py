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
    """A closed client, an AsyncClient outside of its event loop, a stream of vectors in another process than it began in, or
    a key, proxy or certificate that cannot be used.
    """


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


class PhotoSearchOff(Forbidden):
    """The server describes no query photos (403): describe the photo here, or start it with --photo-search."""


class NotFound(ProblemError):
    """There is no such thing (404); its kinds say of what."""


class UnknownGallery(NotFound):
    """There is no such gallery."""


class UnknownItem(NotFound):
    """There is no such item."""


class UnknownEncoder(NotFound):
    """There is no such encoder, or its file is not kept."""


class UnknownJob(NotFound):
    """There is no such job."""


class UnknownAlias(NotFound):
    """There is no such alias."""


class UnknownKey(NotFound):
    """There is no such key."""


class UnknownSnapshot(NotFound):
    """There is no such snapshot."""


class UnknownProbe(NotFound):
    """There is no such probe."""


class NoEncoderFits(NotFound):
    """No admitted encoder fits this device."""


class NoOfflinePack(NotFound):
    """There is no offline pack of this gallery, or not yet."""


class Conflict(ProblemError):
    """What was asked does not agree with what there is (409)."""


class SpaceMismatch(Conflict):
    """The query names another space than the gallery's (409)."""


class EncoderNotAdmitted(Conflict):
    """The gallery has not admitted the query's encoder, or has retired it (409)."""


class CannotDescribe(Conflict):
    """The gallery has no encoder that can describe the photo (409)."""


class InvalidRequest(ProblemError):
    """The request cannot be read, is too large, or asks for what is not possible (400, 405, 408, 413, 415, 422, 431)."""


class EncoderRefused(InvalidRequest):
    """The admission gate refused the encoder (422); its report is in `problem.extras`."""


class InsufficientStorage(ProblemError):
    """The server has not the disk space or memory that this needs (507)."""


class ServerFailed(ProblemError):
    """The server failed while it was answering (500)."""


class GalleryDamaged(ServerFailed):
    """The gallery on the server's disk is damaged (503); the server's other galleries work."""


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
