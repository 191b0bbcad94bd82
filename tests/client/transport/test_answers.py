"""Problems that a server answers with, and the errors that users catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from askew_client import Client
from askew_client.contract.problems import Problem, ProblemKind
from askew_client.errors import (
    CannotDescribe,
    Conflict,
    EncoderNotAdmitted,
    EncoderRefused,
    Forbidden,
    GalleryDamaged,
    InsufficientStorage,
    InvalidRequest,
    NoEncoderFits,
    NoOfflinePack,
    NotFound,
    Overloaded,
    PhotoSearchOff,
    ProblemError,
    RateLimited,
    ServerFailed,
    SpaceMismatch,
    Unauthorised,
    UnknownAlias,
    UnknownEncoder,
    UnknownGallery,
    UnknownItem,
    UnknownJob,
    UnknownKey,
    UnknownProbe,
    UnknownSnapshot,
)
from askew_client.transport.answers import error_class
from tests.support.scripted_server import ScriptedServer

K = ProblemKind
CLASSES: dict[ProblemKind, type[ProblemError]] = {
    K.UNAUTHORISED: Unauthorised,
    K.FORBIDDEN: Forbidden,
    K.PHOTO_SEARCH_OFF: PhotoSearchOff,
    K.UNKNOWN_GALLERY: UnknownGallery,
    K.UNKNOWN_ITEM: UnknownItem,
    K.UNKNOWN_ENCODER: UnknownEncoder,
    K.UNKNOWN_JOB: UnknownJob,
    K.UNKNOWN_ALIAS: UnknownAlias,
    K.UNKNOWN_KEY: UnknownKey,
    K.UNKNOWN_SNAPSHOT: UnknownSnapshot,
    K.UNKNOWN_PROBE: UnknownProbe,
    K.NO_OFFLINE_PACK: NoOfflinePack,
    K.NO_ENCODER_FITS: NoEncoderFits,
    K.SPACE_MISMATCH: SpaceMismatch,
    K.ENCODER_NOT_ADMITTED: EncoderNotAdmitted,
    K.CANNOT_DESCRIBE: CannotDescribe,
    K.ENCODER_REFUSED: EncoderRefused,
    K.DAMAGED_GALLERY: GalleryDamaged,
    K.RATE_LIMITED: RateLimited,
}
"""The kinds that have a class of their own; the others have that of their status."""
BASES = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: Overloaded,
    503: Overloaded,
    500: ServerFailed,
    507: InsufficientStorage,
}


@pytest.mark.parametrize("kind", ProblemKind, ids=lambda kind: kind.slug)
def test_each_kind_of_problem_has_its_error(
    server: ScriptedServer, connect: Callable[..., Client], kind: ProblemKind
) -> None:
    server.problem(kind, retry_after="3")
    wanted = CLASSES.get(kind, BASES.get(kind.status, InvalidRequest))
    with pytest.raises(wanted, match="What came") as caught:
        connect(server.url, retries=0).galleries()
    assert type(caught.value) is wanted
    if kind is not K.DAMAGED_GALLERY:
        assert isinstance(caught.value, BASES.get(kind.status, InvalidRequest))
    if isinstance(caught.value, Overloaded):
        assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, ProblemError), (409, ProblemError), (500, ProblemError), (401, Unauthorised), (503, Overloaded)],
)
def test_a_proxys_status_says_nothing_of_galleries(status: int, error: type[ProblemError]) -> None:
    """Who catches NotFound to create a gallery must not be led there by a proxy."""
    assert error_class(Problem(type="about:blank", title="T", status=status, detail="D.")) is error


@pytest.mark.parametrize("prefix", ["", "/museum", "https://museum.example"])
def test_a_kind_that_this_client_does_not_know_has_the_error_of_its_status(prefix: str) -> None:
    problem = Problem(type=f"{prefix}/problems/unknown-museum", title="T", status=404, detail="D.")
    assert error_class(problem) is NotFound
    assert error_class(problem.model_copy(update={"type": f"{prefix}/problems/unknown-item"})) is UnknownItem
    assert error_class(problem.model_copy(update={"status": 418})) is ProblemError
