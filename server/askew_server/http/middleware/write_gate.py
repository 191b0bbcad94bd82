"""Lets changes through only on a primary, and names its epoch in their answers."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from askew_server.http.context import context_of
from askew_server.http.problems import answer_error
from askew_server.http.routing import RouteMatch
from askew_server.replication.standing import Standing
from askew_server.replication.writes import WritesUnderWay

HEADER = b"askew-epoch"

_SAFE = {"GET", "HEAD", "OPTIONS"}
_READING = {"/v1/galleries/{gallery}/items/count"}
"""Templates that are read by POST, besides the searches."""
_OF_REPLICATION = "/v1/replication/"


def changes_data(method: str, match: RouteMatch) -> bool:
    """Whether a request changes what replicas copy, or begins a job: a replica refuses it."""
    if method in _SAFE or match.route is None or match.rules.is_search:
        return False
    return match.template not in _READING and not match.template.startswith(_OF_REPLICATION)


class WriteGate:
    """An ASGI app around the routes."""

    def __init__(self, app: ASGIApp, standing: Standing, writes: WritesUnderWay) -> None:
        self._app = app
        self._standing = standing
        self._writes = writes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or not changes_data(scope["method"], context_of(scope).match):
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(HEADER, b"")
        # Counted first, so that a server that makes way waits for it or refuses it.
        with self._writes.one():
            refusal = self._standing.refusal(int(sent) if sent.isdigit() and len(sent) < 16 else None)
            if refusal is not None:
                await answer_error(refusal, scope)(scope, receive, send)
                return
            await self._app(scope, receive, _Acknowledging(self._standing, scope, receive, send))


@dataclass
class _Acknowledging:
    """Sends an answer with the epoch, unless the server was superseded since the request began: then nothing is acknowledged."""

    standing: Standing
    scope: Scope
    receive: Receive
    send: Send
    is_refused: bool = False

    async def __call__(self, message: Message) -> None:
        if self.is_refused:
            return
        if message["type"] == "http.response.start":
            refusal = self.standing.refusal()
            if refusal is not None and message["status"] < 400:
                self.is_refused = True
                await answer_error(refusal, self.scope)(self.scope, self.receive, self.send)
                return
            epoch = str(self.standing.epoch).encode()
            message = {**message, "headers": [*message.get("headers", ()), (HEADER, epoch)]}
        await self.send(message)
