"""Run the server: listen, answer, drain."""

from __future__ import annotations

import errno
import ipaddress
import socket

import uvicorn

from askew_client.errors import AskewError
from askew_server.app import create_app
from askew_server.galleries import Galleries
from askew_server.settings import Settings


def run_server(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. Raises AskewError when it cannot begin."""
    _refuse_public_address(settings)
    listener = _listen(settings)
    url = f"http://{settings.host}:{listener.getsockname()[1]}"
    try:
        galleries = Galleries(settings.data, owner=f"askew serve at {url}", max_waiting=settings.max_waiting)
    except BaseException:
        listener.close()
        raise
    config = uvicorn.Config(
        create_app(settings, galleries),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    print(f"Askew serves {settings.data} at {url}", flush=True)
    server.run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AskewError(
                f"Port {settings.port} of {settings.host} is in use by another program. Choose another one with --port."
            ) from None
        raise AskewError(f"Expected to listen on {settings.host}:{settings.port}, but {error.strerror}.") from None
    return listener


def _refuse_public_address(settings: Settings) -> None:
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    if not loopback and not settings.listen_publicly:
        raise AskewError(
            f"{settings.host} is not a loopback address, and this server asks nobody for a key: whoever reaches it can "
            "change the galleries. Put it behind a proxy that does, and say so with --listen-publicly."
        )
