"""Problems that a server answers with, and the errors that users catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from askew_client import Client
from askew_client.contract.problems import ProblemKind
from askew_client.errors import Forbidden, NotFound, Overloaded, ProblemError, RateLimited, Unauthorised
from tests.support.scripted_server import ScriptedServer


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ProblemKind.UNAUTHORISED, Unauthorised),
        (ProblemKind.FORBIDDEN, Forbidden),
        (ProblemKind.PHOTO_SEARCH_OFF, ProblemError),
        (ProblemKind.UNKNOWN_JOB, NotFound),
        (ProblemKind.NO_ENCODER_FITS, NotFound),
        (ProblemKind.RATE_LIMITED, RateLimited),
        (ProblemKind.OVERLOADED, Overloaded),
        (ProblemKind.NOT_READY, Overloaded),
        (ProblemKind.DAMAGED_GALLERY, ProblemError),
    ],
)
def test_problems_that_have_an_error_of_their_own(
    server: ScriptedServer, connect: Callable[..., Client], kind: ProblemKind, error: type[ProblemError]
) -> None:
    server.problem(kind, retry_after="3")
    with pytest.raises(error, match="What came") as caught:
        connect(server.url, retries=0).galleries()
    assert type(caught.value) is error
    if isinstance(caught.value, Overloaded):
        assert caught.value.retry_after == 3
