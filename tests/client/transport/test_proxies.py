"""Proxies that the environment names are used, except for this machine and for what NO_PROXY names."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx
import pytest

from askew_client import Client
from askew_client.errors import ClientMisused, ServerUnreachable
from askew_client.transport.proxies import is_this_machine, proxy_for
from tests.support.scripted_server import ScriptedServer

NAMES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"]
READY = {"status": "ok", "version": "0.1.0", "galleries": 1, "quarantined": 0}


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_host_that_only_the_proxy_knows_is_reached(
    server: ScriptedServer, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server.answer(READY)
    monkeypatch.setenv(name, server.url)
    assert connect("http://museum.invalid/askew", key="ask_1").health().status == "ok"
    (request,) = server.requests
    assert request.path == "http://museum.invalid/askew/readyz"
    assert (request.headers["host"], request.headers["authorization"]) == ("museum.invalid", "Bearer ask_1")


def test_the_proxys_password_goes_to_the_proxy(
    server: ScriptedServer, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer(READY)
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("http://", "http://me:secret@"))
    connect("http://museum.invalid").health()
    assert server.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_server_on_this_machine_is_reached_directly(
    server: ScriptedServer, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer(READY)
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    connect(server.url, retries=0).health()
    assert server.requests[0].path == "/readyz"


@pytest.mark.slow
def test_tls_goes_through_a_tunnel_and_a_refusal_names_the_proxy(
    server: ScriptedServer, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("http://", "http://me:secret@"))
    # The scripted server does not know the method CONNECT.
    with pytest.raises(
        ServerUnreachable, match=r"https://museum\.invalid .*through the proxy .*501.*NO_PROXY"
    ) as caught:
        connect("https://museum.invalid", retries=0).health()
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_proxy_that_does_not_answer_is_named(connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ServerUnreachable, match=r"through the proxy http://127\.0\.0\.1"):
            connect("http://museum.invalid", retries=0).health()


@pytest.mark.parametrize(
    ("address", "exceptions", "is_used"),
    [
        ("http://museum.example", "", True),
        ("http://museum.example", "other.example", True),
        ("http://museum.example", "museum.example", False),
        ("http://MUSEUM.example", "museum.EXAMPLE", False),
        ("http://museum.example", "a.example, example", False),
        ("http://museum.example", ".example", False),
        ("http://museum.example", "*.example", False),
        ("http://museum.example:8000", "museum.example:8000", False),
        ("http://museum.example:8001", "museum.example:8000", True),
        ("http://museum.example", "museum.example:80", False),
        ("http://notexample", "example", True),
        ("http://museum.example", "*", False),
        ("http://10.1.2.3", "10.0.0.0/8", False),
        ("http://11.1.2.3", "10.0.0.0/8", True),
        ("http://10.1.2.3", "10.1.2.3", False),
        ("http://[fd00::5]:80", "fd00::/8", False),
        ("http://[fd00::5]:80", "fd00::5", False),
        ("http://127.0.0.1:8000", "", False),
        ("https://museum.example", "", False),  # Neither HTTPS_PROXY nor ALL_PROXY is set.
    ],
)
def test_exceptions(monkeypatch: pytest.MonkeyPatch, address: str, exceptions: str, is_used: bool) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (proxy_for(httpx.URL(address)) is not None) is is_used


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *[
            (each, True)
            for each in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "127.1", "::1")
        ],
        *[(each, True) for each in ("0.0.0.0", "::", "::ffff:127.0.0.1", "2130706433")],
        *[(each, False) for each in ("localhost.example", "notlocalhost", "10.0.0.1", "fe80::1", "128.0.0.1", "x")],
    ],
)
def test_this_machine_is_known_in_every_spelling(host: str, is_here: bool) -> None:
    assert is_this_machine(host) is is_here


@pytest.mark.parametrize("address", ["ftp://secret.example:1", "http://", "http://host:port", "socks9://h", "://"])
def test_an_unusable_proxy_is_refused_when_the_client_is_opened(
    connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(ClientMisused, match="Expected the address of a proxy") as caught:
        connect("http://museum.example")
    assert "secret" not in str(caught.value)
    connect("http://127.0.0.1:8000")


def test_a_socks_proxy_names_its_package(connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    try:
        import socksio  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(ClientMisused, match=r"httpx\[socks\]"):
            connect("http://museum.example")
    else:
        connect("http://museum.example")
