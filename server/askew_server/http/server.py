"""Run the server: listen, answer, drain."""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import signal
import socket
import time
from contextlib import ExitStack, closing
from functools import partial
from importlib.metadata import version
from types import FrameType

import uvicorn

from askew_client.errors import AskewError
from askew_server.auth.keys import KeyStore
from askew_server.gallery.awake import share_descriptors
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.index_manager import open_index
from askew_server.http.app import create_app
from askew_server.http.certificate import CertificatePair, RenewedCertificate
from askew_server.http.protocol import protocol_with_limits
from askew_server.http.start_warnings import is_empty
from askew_server.http.state import AppState
from askew_server.index.verified import VerifiedIndexes
from askew_server.observability.logs import Logs, start_line
from askew_server.observability.tracing import open_tracing
from askew_server.processes import Limits
from askew_server.settings import Settings

_MOST_DESCRIPTORS = 1 << 20
"""More than any server needs; some programs take time in proportion to the limit."""
_TICKS_PER_SECOND = 10
"""Of uvicorn's main loop."""


def run_server(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests that were accepted. Raises AskewError if it cannot start."""
    # From the first moment on: what is opened next may have something to report.
    with closing(Logs(settings.log_format, settings.log_level)) as logs:
        _close_on_sigterm(logs)
        _serve(settings)


def _serve(settings: Settings) -> None:
    pair = _certificate_pair(settings)
    # Before anything is made: a certificate that cannot be used is a reason not to start.
    certificate = None if pair is None else RenewedCertificate(pair)
    scheme = "http" if certificate is None else "https"
    tracing = open_tracing(version("askew-server")) if settings.tracing else None
    with ExitStack() as closed_on_failure:
        listener = closed_on_failure.enter_context(_listen(settings))
        url = f"{scheme}://{_bracketed(settings.host)}:{listener.getsockname()[1]}"
        data_was_empty = is_empty(settings.data)
        descriptors = _allow_open_files()
        connections, awake = share_descriptors(descriptors, settings.max_connections)
        galleries = Catalog(
            settings.data,
            owner=f"askew serve at {url}",
            max_waiting=settings.max_waiting,
            open_index=partial(
                open_index,
                build_limits=Limits(seconds=settings.build_seconds),
                verified=VerifiedIndexes(),
                gpu=settings.gpu,
            ),
            max_awake=awake,
        )
        closed_on_failure.callback(galleries.close)
        _check_address(settings)
        state = AppState(settings, galleries, data_was_empty=data_was_empty)
        # The app closes the galleries when it ends, and uvicorn the listener.
        closed_on_failure.pop_all()
    config = uvicorn.Config(
        create_app(state, tracing),
        http=protocol_with_limits(settings, connections),
        ws="none",
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=10,
    )
    server = _DrainingServer(config, state, certificate)
    # A program that reads the next line may connect at once; its request waits until the server is ready.
    listener.listen(config.backlog)
    url += settings.root_path
    message = f"Askew serves {settings.data} at {url}"
    print(start_line(settings.log_format, message, url=url, data=str(settings.data)), flush=True)
    if connections < settings.max_connections:
        _warn_of_descriptors(descriptors, connections, awake)
    server.run(sockets=[listener])


def _close_on_sigterm(logs: Logs) -> None:
    """Write the last lines of the log when SIGTERM ends the process.

    uvicorn raises the signal that stopped it once more when it is done, which by default ends the process at once.
    """

    def close_and_end(number: int, _: FrameType | None) -> None:
        logs.close()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, close_and_end)


class _DrainingServer(uvicorn.Server):
    """Reports not-ready when it is asked to stop, serves for another `drain_seconds`, and then shuts down."""

    def __init__(self, config: uvicorn.Config, state: AppState, certificate: RenewedCertificate | None) -> None:
        super().__init__(config)
        self._state = state
        self._certificate = certificate
        self._stops_at: float | None = None

    async def on_tick(self, counter: int) -> bool:
        """Whether to shut down now. uvicorn calls this ten times a second."""
        if self._certificate is not None and counter % _TICKS_PER_SECOND == 0 and self.config.ssl is not None:
            self._certificate.look(self.config.ssl)
            self._state.certificate_expires = self._certificate.expires
        if not await super().on_tick(counter):
            return False
        now = time.monotonic()
        if self._stops_at is None:
            self._state.leave()
            self._stops_at = now + self._state.settings.drain_seconds
        return self.force_exit or now >= self._stops_at


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
        raise AskewError(
            f"Expected to listen on {settings.host}:{settings.port}, but {error.strerror}. Choose another address with "
            "--host."
        ) from None
    return listener


def _check_address(settings: Settings) -> None:
    """Refuse to listen beyond loopback while anyone who reaches the server may write. Raises AskewError."""
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = settings.host == "localhost"
    # A replica has its primary's keys, and serves nobody before it has them.
    if loopback or settings.listen_publicly or (settings.follow and settings.follow_key_file):
        return
    with closing(KeyStore(settings.data)) as keys:
        guarded = keys.guarded
    if not guarded:
        raise AskewError(
            f"Expected a loopback address, as this server has no keys, got {settings.host}: anyone who reaches it could "
            f"change the galleries. Create a key first (`askew key create NAME --scope admin --data {settings.data}`), or "
            "put the server behind a proxy that authenticates requests and start it with --listen-publicly."
        )


def _certificate_pair(settings: Settings) -> CertificatePair | None:
    """The pair that the server speaks TLS with; None: it does not. Raises AskewError."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise AskewError("Expected --tls-certificate with --tls-key: the certificate with its chain, as PEM.")
        return None
    return CertificatePair(settings.tls_certificate, settings.tls_key)


def _allow_open_files() -> int:
    """Raise this process's limit on open files as far as it may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def _warn_of_descriptors(limit: int, connections: int, awake: int) -> None:
    logging.getLogger("askew.server").warning(
        "the limit on open files is %s, so the server accepts %s connections and keeps %s galleries open at a time; "
        "raise the limit (`ulimit -Hn`) to serve more",
        limit, connections, awake,
    )  # fmt: skip


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
