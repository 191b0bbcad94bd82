"""Certificates of servers: an authority of one's own, and the sentence for each that is not trusted."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from askew_client import Client
from askew_client.errors import ClientMisused, ServerUnreachable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good`: a certificate for 127.0.0.1. `other`: for other.example. `old`: one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, subject, age in (
        ("good", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), timedelta(0)),
        ("other", x509.DNSName("other.example"), timedelta(0)),
        ("old", x509.IPAddress(ipaddress.ip_address("127.0.0.1")), timedelta(days=9)),
    ):
        _write_certificate(folder, name, subject, datetime.now(UTC) - age)
    return folder


def _write_certificate(folder: Path, name: str, subject: x509.GeneralName, made: datetime) -> None:
    """A certificate that signs itself, from a day before `made` to a day after."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), x509.random_serial_number())
        .not_valid_before(made - timedelta(days=1))
        .not_valid_after(made + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.key").write_bytes(secret)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def served(certificate: Path) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"status": "ok", "version": "0.1.0", "galleries": 1, "quarantined": 0}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that do not trust us hang up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with Server(("127.0.0.1", 0), Handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def good(folder: Path) -> Iterator[str]:
    with served(folder / "good.pem") as url:
        yield url


def test_an_authority_of_ones_own_is_named_in_the_environment_or_as_ca(
    good: str, folder: Path, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServerUnreachable, match=r"is not trusted.*SSL_CERT_FILE.*`ca`"):
        connect(good).health()
    assert connect(good, ca=folder / "good.pem").health().status == "ok"
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "good.pem"))
    assert connect(good).health().status == "ok"
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "other.pem"))
    assert connect(good, ca=str(folder / "good.pem")).health().status == "ok"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("other", "is for another host .*Use the name that it is made for"), ("old", "has expired. Renew it")],
)
def test_a_certificate_that_is_trusted_but_wrong_is_told_as_what_it_is(
    folder: Path, connect: Callable[..., Client], name: str, sentence: str
) -> None:
    certificate = folder / f"{name}.pem"
    with served(certificate) as url, pytest.raises(ServerUnreachable, match=sentence):
        connect(url, ca=certificate).health()


def test_tls_with_a_server_that_speaks_plain_http_is_no_matter_of_trust(
    connect: Callable[..., Client], good: str
) -> None:
    with pytest.raises(ServerUnreachable) as caught:
        connect(good.replace("https", "http"), retries=0).health()
    assert "SSL_CERT_FILE" not in str(caught.value)


def test_files_that_are_no_certificates_are_refused_with_their_name(
    folder: Path, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = folder / "text.pem"
    text.write_text("no certificate")
    for ca in (text, folder / "missing.pem", folder):
        with pytest.raises(ClientMisused, match=rf"PEM certificates in `ca` \({ca}\)"):
            connect("https://museum.example", ca=ca)
    for ca in (text, folder / "missing.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with pytest.raises(ClientMisused, match=r"SSL_CERT_FILE \("):
            connect("https://museum.example")
