"""One exception is one problem, whichever way it leaves the server: a route, a raw search, a job."""

from __future__ import annotations

import asyncio
import errno
import pickle
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from askew_client import errors
from askew_client.contract.problems import ProblemKind
from askew_server.auth.access import Access
from askew_server.auth.permissions import Permission, Reach
from askew_server.errors import DamagedGallery, DataInUse, Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.http.app import create_fastapi
from askew_server.http.context import RequestContext
from askew_server.http.middleware.raw_search import RawSearch
from askew_server.http.routing import RouteMatch, RouteRules
from askew_server.http.state import AppState
from askew_server.jobs.kind import Cancelled, Lane, Report, Task
from askew_server.jobs.queue import JobQueue
from askew_server.observability.request_record import RequestRecord
from askew_server.settings import Settings
from askew_server.storage.errors import DatabaseError, DiskFull, database_error


def _sqlite_error(statement: str, path: str = ":memory:") -> DatabaseError:
    try:
        sqlite3.connect(path).execute(statement)
    except sqlite3.Error as error:
        return database_error(error)
    raise AssertionError(statement)


def _corrupt(folder: Path) -> DatabaseError:
    (folder / "no.db").write_bytes(b"no database" * 1_000)
    return _sqlite_error("SELECT * FROM sqlite_master", str(folder / "no.db"))


def _invalid(text: str) -> ValidationError:
    class Wanted(BaseModel):
        number: int

    try:
        Wanted.model_validate_json(text)
    except ValidationError as error:
        return error
    raise AssertionError(text)


CASES: dict[str, tuple[Callable[[Path], Exception], ProblemKind]] = {
    "a refusal": (lambda _: Refusal(ProblemKind.ALIAS_CONFLICT, "taken", {"by": "x"}, 3), ProblemKind.ALIAS_CONFLICT),
    "a vector": (
        lambda _: errors.WireError(ProblemKind.NOT_FINITE, "NaN", {"position": 1}), ProblemKind.NOT_FINITE
    ),
    "a photo": (lambda _: errors.PhotoTooThin("thin"), ProblemKind.UNREADABLE_PHOTO),
    "an encoder": (lambda _: errors.DamagedEncoder("damaged"), ProblemKind.NOT_AN_ENCODER),
    "no engine": (lambda _: errors.EngineMissing("install it"), ProblemKind.INTERNAL),
    "a damaged gallery": (lambda _: DamagedGallery("damaged"), ProblemKind.DAMAGED_GALLERY),
    "another sentence of ours": (lambda _: DataInUse("in use"), ProblemKind.INTERNAL),
    "a document": (lambda _: _invalid('{"number": "x"}'), ProblemKind.VALIDATION),
    "no JSON": (lambda _: _invalid("{"), ProblemKind.INVALID_JSON),
    "a corrupt database": (_corrupt, ProblemKind.DAMAGED_GALLERY),
    "a full database": (lambda _: DiskFull("database or disk is full"), ProblemKind.INSUFFICIENT_STORAGE),
    "a mistake in SQL": (lambda _: _sqlite_error("SELEKT 1"), ProblemKind.INTERNAL),
    "a full disk": (lambda _: OSError(errno.ENOSPC, "No space left"), ProblemKind.INSUFFICIENT_STORAGE),
    "a read-only disk": (lambda _: OSError(errno.EROFS, "Read-only"), ProblemKind.INSUFFICIENT_STORAGE),
    "another error of the system": (lambda _: OSError(errno.ECONNRESET, "reset"), ProblemKind.INTERNAL),
    "a mistake of ours": (lambda _: ZeroDivisionError("secret inside"), ProblemKind.INTERNAL),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Exception, ProblemKind]:
    make, kind = CASES[request.param]
    return make(tmp_path), kind


@pytest.fixture
def state(tmp_path: Path) -> AppState:
    data = tmp_path / "data"
    return AppState(Settings(data=data), Catalog(data, owner="a test"))


def over_http(state: AppState, error: Exception) -> httpx.Response:
    app = create_fastapi(state)

    @app.get("/fails")
    async def fails() -> None:
        raise error

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://askew") as client:
            return await client.get("/fails")

    return asyncio.run(ask())


def over_raw_search(state: AppState, error: Exception) -> tuple[int, dict[str, str], bytes]:
    class Failing(AppState):
        def __init__(self) -> None:
            self.settings = state.settings

        def gallery(self, name: str | None) -> Any:
            raise error

    rules = RouteRules(Permission("search", Reach.ONE_GALLERY), takes_raw_vector=True)
    context = RequestContext(RequestRecord("a-request", "POST"), RouteMatch(rules=rules), Access())
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("a raw search goes no further")

    scope = {
        "type": "http", "askew": context, "query_string": b"",
        "headers": [(b"content-type", b"application/octet-stream")],
    }  # fmt: skip
    asyncio.run(RawSearch(no_app, Failing())(scope, receive, send))
    start, body = sent
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"]


class FailingJob:
    """A kind of job that fails."""

    name = "fails"
    lane: Lane = "keeping"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check_input(self, task: Task) -> None:
        pass

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> BaseModel:
        raise self._error


def over_a_job(data: Path, error: Exception) -> dict[str, Any]:
    queue = JobQueue(data, max_jobs=2)
    queue.register(FailingJob(error))
    queue.start()
    try:
        job = queue.submit("fails", gallery="g", parameters={})
        deadline = time.monotonic() + 60
        while job.state in {"waiting", "running"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            job = queue.job(job.id)
    finally:
        queue.close()
    assert job.problem is not None
    return job.problem.model_dump()


@pytest.mark.slow
def test_an_exception_is_the_same_problem_on_every_way_out(
    case: tuple[Exception, ProblemKind], state: AppState, tmp_path: Path
) -> None:
    error, kind = case
    answer = over_http(state, error)
    status, headers, body = over_raw_search(state, error)
    (tmp_path / "jobs").mkdir()
    problems = [answer.json(), httpx.Response(200, content=body).json(), over_a_job(tmp_path, error)]
    assert answer.status_code == status == kind.status
    assert answer.headers["content-type"] == headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == headers.get("retry-after")
    details = set()
    for problem in problems:
        assert (problem["type"], problem["status"]) == (f"/problems/{kind.slug}", kind.status)
        assert "secret" not in str(problem)
        # An unexpected exception is reported with the request or job under which the log has it.
        details.add(problem["detail"].partition("its log has")[0])
    assert len(details) == 1
    extras = [{k: v for k, v in each.items() if k not in {"instance", "detail"}} for each in problems]
    assert extras[0] == extras[1] == extras[2]


def test_a_disconnected_client_is_not_reported_as_a_problem(state: AppState) -> None:
    with pytest.raises(ClientDisconnect):
        over_raw_search(state, ClientDisconnect())


ERRORS = [
    Refusal(ProblemKind.OVERLOADED, "too many", {"limit": 3}, 5),
    DamagedGallery("damaged"),
    DataInUse("in use"),
    DiskFull("full"),
    DatabaseError("something"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_the_way_out_of_a_child_process(error: Exception) -> None:
    came = pickle.loads(pickle.dumps(error))
    assert type(came) is type(error)
    assert (str(came), came.__dict__) == (str(error), error.__dict__)
