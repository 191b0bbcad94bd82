"""A reverse proxy between the browser and the server: under a path prefix, recording, and able to fail as networks do."""

from __future__ import annotations

import http.client
import mimetypes
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


@dataclass(frozen=True)
class Recorded:
    """A request that came through."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """An answer that the proxy gives instead of the server's. A Content-Length that is too large breaks the connection."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Proxy:
    """Listens on a free port of 127.0.0.1 and hands requests below `prefix` on to a server, without the prefix.

    `change`: called with the target and the body of each answer; returns the body that is sent. `is_cut`: while true, no
    request is answered. `instead`: what is answered in place of the server. `hangs`: whether a request waits for an
    answer until the proxy is closed. `build`: None, or a folder with another build of the app, whose files are sent
    instead of the server's.
    """

    def __init__(self, server: str, prefix: str = "") -> None:
        self.recorded: list[Recorded] = []
        self.change: Callable[[str, bytes], bytes] = lambda _, body: body
        self.build: Path | None = None
        self.is_cut = False
        self.instead: Callable[[Recorded], Answer | None] = lambda _: None
        self.hangs: Callable[[Recorded], bool] = lambda _: False
        self._closes = threading.Event()
        self._target = urlsplit(server)
        self._prefix = prefix
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address, with the prefix and without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_port}{self._prefix}"

    @property
    def bodies_sent(self) -> list[bytes]:
        """The bodies of the requests that had one."""
        return [each.body for each in self.recorded if each.body]

    def close(self) -> None:
        self._closes.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Recorded(self.command, self.path, dict(self.headers), self.rfile.read(length))
                proxy.recorded.append(request)
                if proxy.is_cut:
                    self.close_connection = True
                    return
                # A browser that leaves the page closes its connections.
                with suppress(ConnectionError):
                    if proxy.hangs(request):
                        proxy._closes.wait()
                        self.close_connection = True
                    elif (answer := proxy.instead(request)) is not None:
                        self.send(answer, request)
                    else:
                        self.pass_on(request)

            def send(self, answer: Answer, request: Recorded) -> None:
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if request.method != "HEAD":
                    self.wfile.write(answer.body)
                    self.close_connection = len(answer.body) < int(answer.headers.get("Content-Length", 0))

            def pass_on(self, request: Recorded) -> None:
                if not request.target.startswith(f"{proxy._prefix}/"):
                    self.send_error(404, "outside the prefix")
                    return
                connection = http.client.HTTPConnection(proxy._target.hostname or "", proxy._target.port, timeout=60)
                headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
                headers["Host"] = self.headers["Host"]
                target = request.target.removeprefix(proxy._prefix)
                if proxy.build is not None and (target in {"/", "/sw.js"} or target.startswith("/page/")):
                    name = target.removeprefix("/page").removeprefix("/") or "index.html"
                    self.send(_answer_from(proxy.build / name), request)
                    return
                try:
                    connection.request(request.method, target, request.body, headers)
                    answer = connection.getresponse()
                    body = proxy.change(target, answer.read())
                finally:
                    connection.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {*_HOP_BY_HOP, "content-length", "date", "server"}:
                        self.send_header(name, value)
                if request.method != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _answer_from(file: Path) -> Answer:
    if not file.is_file():
        return Answer(404, b"not in this build")
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Answer(200, file.read_bytes(), {"Content-Type": kind, "Cache-Control": "no-cache"})
