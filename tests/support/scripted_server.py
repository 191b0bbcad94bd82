"""A small real HTTP server that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from askew_client.contract.problems import MEDIA_TYPE, ProblemKind, problem_of


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None


@dataclass
class ScriptedServer:
    """Answers with what it was told, in order, the last answer again and again; keeps the requests.

    `seconds`: how long it takes for each. `connections`: how many were opened.
    """

    answers: list[_Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    seconds: float = 0
    connections: int = 0

    def answer(self, content: object, status: int = 200, *, cut: int | None = None, **headers: str) -> None:
        """`cut`: break the connection after so many bytes of the body."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(_Answer(status, {"content-type": "application/json", **named}, body, cut))

    def problem(self, kind: ProblemKind, extras: dict[str, object] | None = None, **headers: str) -> None:
        problem = problem_of(kind, "What came, and what to do.", extras or {}, "request-1")
        self.answer(problem.model_dump(), kind.status, content_type=MEDIA_TYPE, **headers)

    def take(self) -> _Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """One such server on a free port."""
    told = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            told.connections += 1

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.requests.append(Request(self.command, self.path, headers, body))
            answer = told.take()
            time.sleep(told.seconds)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that has gone is no error of a test's."""

    with Server(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        told.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield told
        finally:
            http.shutdown()
            thread.join()
