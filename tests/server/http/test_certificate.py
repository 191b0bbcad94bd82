"""The certificate of a running server is replaced on the disk: who connects next gets the new one."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from askew_server.http.certificate import CertificatePair, RenewedCertificate, expiry_of
from tests.support.running_server import RunningServer
from tests.support.waiting import wait_until


def make_pair(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def connect(url: str) -> ssl.SSLSocket:
    host, port = re.findall(r"//(.*):(\d+)", url)[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=60))


def served_name(url: str) -> str:
    with closing(connect(url)) as connection:
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


def expiry_in_metrics(server: RunningServer) -> float:
    found = re.search(r"^askew_tls_certificate_expiry_seconds (\S+)$", server.http.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.slow
def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = make_pair(tmp_path, "first", 2), make_pair(tmp_path, "second", 90)
    used = tmp_path / "used.pem", tmp_path / "used.key"
    for source, target in zip(first, used, strict=True):
        target.write_bytes(source.read_bytes())
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("".join(pair[0].read_text() for pair in (first, second)))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with RunningServer(tmp_path / "data", "--tls-certificate", str(used[0]), "--tls-key", str(used[1])) as server:
        assert served_name(server.url) == "CN=first"
        wait_until(lambda: "askew_tls_certificate_expiry_seconds 1" in server.http.get("/metrics").text, "the metric")
        before = expiry_in_metrics(server)
        with closing(connect(server.url)) as earlier:
            for source, target in zip(second, used, strict=True):
                source.replace(target)
            wait_until(lambda: served_name(server.url) == "CN=second", "the new certificate")
            earlier.sendall(b"GET /livez HTTP/1.1\r\nHost: askew\r\nConnection: close\r\n\r\n")
            assert earlier.recv(1_000).startswith(b"HTTP/1.1 200")
        after = expiry_in_metrics(server)
        assert 87 * 86_400 < after - before < 89 * 86_400
        server.http.close()


def handshake(context: ssl.SSLContext) -> str:
    """The name in the certificate that a server with this context shows, without a network."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours, theirs = client.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    der = ours.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


def test_a_pair_that_cannot_be_used_leaves_the_earlier_one_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = make_pair(tmp_path, "first", 2)
    other, other_key = make_pair(tmp_path, "other", 30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    renewed = RenewedCertificate(CertificatePair(certificate, key))
    expires = renewed.expires
    certificate.write_bytes(other.read_bytes())
    renewed.look(context)
    assert not caplog.messages, "it may still be changing"
    for _ in range(3):
        renewed.look(context)
    assert [str(certificate) in message and "earlier certificate stays" in message for message in caplog.messages] == [
        True
    ]
    assert handshake(context) == "CN=first"
    assert renewed.expires == expires
    key.unlink()
    for _ in range(3):
        renewed.look(context)
    assert handshake(context) == "CN=first"
    other_key.replace(key)
    for _ in range(3):
        renewed.look(context)
    assert handshake(context) == "CN=other"
    assert renewed.expires > expires


def test_a_pair_is_taken_once_the_disk_for_its_copy_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files do not change any more, so nothing but another look brings them in."""
    certificate, key = make_pair(tmp_path, "first", 2)
    other, other_key = make_pair(tmp_path, "other", 30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    renewed = RenewedCertificate(CertificatePair(certificate, key))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    other.replace(certificate)
    other_key.replace(key)
    for _ in range(5):
        renewed.look(context)
    assert handshake(context) == "CN=first"
    assert len(caplog.messages) == 1 and "It is tried again" in caplog.messages[0]
    (tmp_path / "absent").mkdir()
    renewed.look(context)
    assert handshake(context) == "CN=other"


def test_an_expired_certificate_does_not_replace_one_that_is_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when an old copy of the folder is put back."""
    certificate, key = make_pair(tmp_path, "first", 2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    renewed = RenewedCertificate(CertificatePair(certificate, key))
    expires = renewed.expires
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, private.public_key(), 1, now - timedelta(9), now - timedelta(3))
    old = built.sign(private, SHA256())
    certificate.write_bytes(old.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for _ in range(3):
        renewed.look(context)
    assert handshake(context) == "CN=first" and renewed.expires == expires
    assert len(caplog.messages) == 1 and "It expired on 20" in caplog.messages[0]


@pytest.mark.parametrize("days", [2, 20_000])
def test_the_expiry_is_what_the_certificate_says(tmp_path: Path, days: int) -> None:
    certificate, _ = make_pair(tmp_path, "x", days)
    expected = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert datetime.fromtimestamp(expiry_of(certificate.read_text()), UTC) == expected


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_expiry(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        expiry_of(text)
