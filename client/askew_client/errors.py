"""Everything that can go wrong, in one tree.

    AskewError
    ├── PhotoError                 a photo that cannot be described
    │   ├── UnreadablePhoto        no photo, truncated, empty, or of a format that is not admitted
    │   ├── PhotoTooLarge          more pixels than the bound
    │   └── PhotoTooThin           its shorter side falls under 32 px
    ├── EncoderError               a file that cannot serve as an encoder
    │   ├── NotAnEncoder           no ONNX file, or one without a manifest
    │   ├── DamagedEncoder         its digest does not fit its bytes, or its golden vectors do not come out
    │   ├── UnknownManifest        written by a newer Askew
    │   └── EngineMissing          no onnxruntime is installed, or two are
    ├── WireError                  a vector that cannot be sent or read: wrong length, dtype, norm, NaN
    └── ServerError                talking to a server failed
        ├── ServerUnreachable      no connection, or no answer in time
        └── ProblemError           the server answered with a problem (`.problem`, `.status`)
            ├── SpaceMismatch      409: the query names another space than the gallery's
            ├── NotFound           404: unknown gallery, item or encoder
            ├── EncoderRefused     422: the admission gate said no
            └── Overloaded         429 or 503: try again after `.retry_after` seconds

The text of each is one sentence or two for a person: what was expected, what came, what to do.
"""

from __future__ import annotations

from askew_client.contract.problems import Problem, ProblemKind


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


class ServerError(AskewError):
    """Talking to a server failed."""


class ServerUnreachable(ServerError):
    """No connection to the server, or no answer in time."""


class ProblemError(ServerError):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.status = problem.status


class SpaceMismatch(ProblemError):
    """The query names another space than the gallery's (409)."""


class NotFound(ProblemError):
    """Unknown gallery, item or encoder (404)."""


class EncoderRefused(ProblemError):
    """The admission gate refused the encoder (422); its report is in `problem.extras`."""


class Overloaded(ProblemError):
    """The server is busy or not ready (429, 503), and stayed so through all retries."""

    def __init__(self, problem: Problem, retry_after: float | None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


def sentence_of(error: Exception) -> str:
    """What the command line says of an error: its own sentence, or one made for it."""
    if isinstance(error, AskewError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return f"{type(error).__name__}: {error}. Set ASKEW_DEBUG=1 to see where this comes from."
