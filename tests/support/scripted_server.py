"""A small real HTTP server that gives scripted answers and records the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
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
class ScriptedAnswer:
    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None


@dataclass
class ScriptedServer:
    """Gives the scripted answers in order, repeats the last one, and records the requests.

    `gate`: answers wait while it is cleared. `connections`: how many were opened; `open_connections`: how many are open.
    `in_progress`: requests that wait for their answer; `max_in_progress`: the most of them at one time.
    """

    answers: list[ScriptedAnswer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    open_connections: int = 0
    in_progress: int = 0
    max_in_progress: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def answer(self, content: object, status: int = 200, *, cut: int | None = None, **headers: str) -> None:
        """Add an answer. `cut`: break the connection after this many bytes of the body."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append(ScriptedAnswer(status, {"content-type": "application/json", **named}, body, cut))

    def problem(
        self, kind: ProblemKind, extras: dict[str, object] | None = None, *, retry_after: str | None = None
    ) -> None:
        """Add an answer that is a problem."""
        problem = problem_of(kind, "What came, and what to do.", extras or {}, "request-1")
        headers = {"content-type": MEDIA_TYPE} | ({} if retry_after is None else {"retry-after": retry_after})
        self.answers.append(ScriptedAnswer(kind.status, headers, json.dumps(problem.model_dump()).encode()))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the numbers of requests and connections holds."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout=30)

    def take(self) -> ScriptedAnswer:
        """The next answer, once the gate is open."""
        with self.changed:
            self.in_progress += 1
            self.max_in_progress = max(self.max_in_progress, self.in_progress)
            self.changed.notify_all()
        self.gate.wait()
        with self.changed:
            self.in_progress -= 1
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A scripted server on a free port."""
    script = ScriptedServer()
    script.gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with script.changed:
                script.connections += 1
                script.open_connections += 1

        def finish(self) -> None:
            super().finish()
            with script.changed:
                script.open_connections -= 1
                script.changed.notify_all()

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append(Request(self.command, self.path, headers, body))
            answer = script.take()
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
            """Ignore clients that disconnect early."""

    with Server(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        script.url = f"http://127.0.0.1:{http.server_port}"
        try:
            yield script
        finally:
            script.gate.set()
            http.shutdown()
            thread.join()
