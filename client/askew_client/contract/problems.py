"""The problems that a server answers with: RFC 9457 `application/problem+json`, on every path.

A problem has `type` (`/problems/<slug>`, a page of the server, behind its path prefix if it has one), `title`, `status`, `detail` (what was expected, what
came, what to do), `instance` (the request id) and typed extras of its kind.
"""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel, ConfigDict

MEDIA_TYPE = "application/problem+json"


class ProblemKind(Enum):
    """Every kind of problem: its slug, HTTP status and title."""

    SPACE_MISMATCH = ("space-mismatch", 409, "The query is from another space")
    SPACE_MISSING = ("space-missing", 422, "The query names no space")
    DIMENSION_MISMATCH = ("dimension-mismatch", 422, "The vector has the wrong length")
    NOT_NORMALISED = ("not-normalised", 422, "The vector is not of unit length")
    NOT_FINITE = ("not-finite", 422, "The vector holds NaN or infinite values")
    UNSUPPORTED_DTYPE = ("unsupported-dtype", 415, "The vector's dtype is missing or not supported")
    UNSUPPORTED_MEDIA = ("unsupported-media", 415, "The body's content type is not accepted here")
    UNREADABLE_PHOTO = ("unreadable-photo", 422, "The photo cannot be described")
    UNKNOWN_GALLERY = ("unknown-gallery", 404, "There is no such gallery")
    UNKNOWN_ITEM = ("unknown-item", 404, "There is no such item")
    UNKNOWN_ENCODER = ("unknown-encoder", 404, "There is no such encoder")
    UNKNOWN_JOB = ("unknown-job", 404, "There is no such job")
    UNKNOWN_ALIAS = ("unknown-alias", 404, "There is no such alias")
    UNKNOWN_KEY = ("unknown-key", 404, "There is no such key")
    UNKNOWN_SNAPSHOT = ("unknown-snapshot", 404, "There is no such snapshot")
    NO_OFFLINE_PACK = ("no-offline-pack", 404, "There is no offline pack of this gallery")
    UNKNOWN_PATH = ("unknown-path", 404, "No route matches this path")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "This path does not take this method")
    GALLERY_CONFLICT = ("gallery-conflict", 409, "A different gallery of this name exists")
    GALLERY_IN_USE = ("gallery-in-use", 409, "The gallery is in use")
    ALIAS_CONFLICT = ("alias-conflict", 409, "The name is taken")
    ITEMS_WOULD_BE_LOST = ("items-would-be-lost", 409, "Another teacher cannot describe some of the items")
    JOB_CONFLICT = ("job-conflict", 409, "The state of the job does not allow this")
    READ_REPLICA = ("read-replica", 409, "This server is a replica and takes no changes")
    SUPERSEDED = ("superseded", 409, "Another server has become the primary")
    REPLICA_REFUSED = ("replica-refused", 409, "This server cannot follow that one")
    REPLICA_BEHIND = ("replica-behind", 409, "The replica lacks changes of its primary")
    VERIFICATION_FAILED = ("verification-failed", 409, "The result failed its verification")
    ENCODER_NOT_ADMITTED = (
        "encoder-not-admitted",
        409,
        "The query's encoder is not admitted to this gallery",
    )
    ENCODER_CONFLICT = ("encoder-conflict", 409, "This name and version belong to another encoder file")
    ENCODER_IN_USE = ("encoder-in-use", 409, "The encoder is the gallery's teacher")
    NO_ENCODER_FITS = ("no-encoder-fits", 404, "No admitted encoder fits this device")
    UNKNOWN_PROBE = ("unknown-probe", 404, "There is no such probe")
    ENCODER_REFUSED = ("encoder-refused", 422, "The encoder is not admitted")
    NOT_AN_ENCODER = ("not-an-encoder", 422, "The file is not an encoder")
    CANNOT_DESCRIBE = ("cannot-describe", 409, "This gallery has no encoder that can describe the photo")
    PHOTO_SEARCH_OFF = ("photo-search-off", 403, "Search by photo is not enabled on this server")
    DAMAGED_SNAPSHOT = ("damaged-snapshot", 422, "The file is damaged, or is not a snapshot")
    VALIDATION = ("validation", 422, "The request does not match its schema")
    INVALID_JSON = ("invalid-json", 400, "The body is not valid JSON")
    PAYLOAD_TOO_LARGE = ("payload-too-large", 413, "The body is too large")
    ANSWER_TOO_LARGE = ("answer-too-large", 422, "The answer would be too large")
    HEADERS_TOO_LARGE = ("headers-too-large", 431, "The headers are too large or too many")
    REQUEST_TIMEOUT = ("request-timeout", 408, "The request did not arrive in time")
    TOO_SLOW = ("too-slow", 503, "The server did not answer in time")
    UNAUTHORISED = ("unauthorised", 401, "This call needs a key")
    FORBIDDEN = ("forbidden", 403, "This key may not do that")
    RATE_LIMITED = ("rate-limited", 429, "This key makes too many requests")
    OVERLOADED = ("overloaded", 429, "Too many requests are waiting")
    DAMAGED_GALLERY = ("damaged-gallery", 503, "The gallery on the disk is damaged")
    GALLERY_HELD = ("gallery-held", 503, "The gallery takes no changes for some seconds")
    NOT_READY = ("not-ready", 503, "The server is loading or draining")
    OUT_OF_DESCRIPTORS = ("out-of-descriptors", 503, "The server has too many files and connections open")
    OUT_OF_MEMORY = ("out-of-memory", 503, "The server has no memory left for this")
    INSUFFICIENT_STORAGE = ("insufficient-storage", 507, "The disk is full or cannot be written to")
    WOULD_NOT_FIT = ("would-not-fit", 507, "There is not enough memory or disk for this")
    HTTP = ("http", 400, "The request cannot be answered")
    INTERNAL = ("internal", 500, "The server failed")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class Problem(BaseModel):
    """One problem. Members beyond the five of RFC 9457 are kept in `model_extra`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None

    @property
    def slug(self) -> str:
        """The last part of `type`, for example `space-mismatch`."""
        return self.type.rsplit("/", 1)[-1]

    @property
    def extras(self) -> dict[str, object]:
        """The members that this kind of problem adds, such as `expected` and `received`."""
        return dict(self.model_extra or {})


def problem_of(
    kind: ProblemKind, detail: str, extras: dict[str, object], instance: str | None, prefix: str = ""
) -> Problem:
    """Build a problem of a kind. `instance`: the request id. `prefix`: of the server's paths, such as `/askew`."""
    members = {"type": f"{prefix}/problems/{kind.slug}", "title": kind.title, "status": kind.status, "detail": detail}
    return Problem.model_validate({**extras, **members, "instance": instance})
