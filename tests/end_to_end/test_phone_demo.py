"""`make demo PHONE=1`: the demo for phones in the same network, over TLS and with a key that can only search."""

from __future__ import annotations

import importlib
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import zxingcpp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from askew_client.contract.wire import pack
from askew_client.encoding.encoder import Encoder
from tests.support.paths import DEMO
from tests.support.running_server import run_askew
from tests.support.small_demo import SmallDemo, address_in, copy_small_demo, free_port
from tests.support.waiting import wait_until

HOST = "museum.local"
STUDENT = DEMO / "encoders" / "student.onnx"


@dataclass(frozen=True)
class Served:
    """A demo that serves phones, after two runs before it: one for phones, one for this machine."""

    demo: SmallDemo
    copy: SmallDemo
    """The same, with a copy of DATA as it was after the first run."""
    port: int
    first: str
    plain: str
    printed: str

    @property
    def address(self) -> str:
        return address_in(self.printed)

    @property
    def network_address(self) -> str:
        """The address of this machine that the demo chose when nobody named one."""
        return urlsplit(address_in(self.first)).hostname or ""

    @property
    def key(self) -> str:
        return self.address.split("#key=")[1]

    @property
    def authority(self) -> Path:
        return self.demo.data / "phone" / "authority.crt"

    def client(self, host: str = "127.0.0.1", key: str | None = None) -> httpx.Client:
        """An HTTP client that trusts the demo's authority and nobody else."""
        trusted = ssl.create_default_context(cafile=self.authority)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=f"https://{host}:{self.port}", verify=trusted, headers=headers, trust_env=False, timeout=60
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    demo = copy_small_demo(tmp_path_factory.mktemp("phone") / "demo")
    first = demo.check(PHONE="1")
    copy = replace(demo, data=demo.data.with_name("copy"))
    shutil.copytree(demo.data, copy.data)
    plain = demo.check()
    port = free_port()
    with demo.running(port, PHONE="1", HOST=HOST) as (_, printed):
        yield Served(demo, copy, port, first, plain, printed)


def test_the_landmarks_come_first_with_phones_and_afterwards_without(served: Served) -> None:
    assert "5 of 5 landmarks came first," in served.first
    # DATA has a key now, so its server demands one on this machine, too.
    assert "5 of 5 landmarks came first," in served.plain


def test_the_qr_code_is_the_address(served: Served) -> None:
    drawn = [line for line in served.printed.splitlines() if line and set(line) <= set("█▀▄ ")]
    codes = zxingcpp.read_barcodes(_pixels(drawn))
    assert [code.text for code in codes] == [served.address]
    assert served.address.startswith(f"https://{HOST}:{served.port}/#key=ask_")


def _pixels(lines: list[str]) -> NDArray[np.uint8]:
    """Half blocks as a picture: on dark terminals they are light."""
    halves = {" ": (0, 0), "▀": (255, 0), "▄": (0, 255), "█": (255, 255)}
    rows = [[halves[character][half] for character in line] for line in lines for half in (0, 1)]
    return np.array(rows, np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def test_the_certificate_is_valid_at_each_address_of_this_machine(served: Served) -> None:
    for host in ("127.0.0.1", "localhost", served.network_address):
        with served.client(host) as client:
            assert client.get("/readyz").status_code == 200
    leaf = x509.load_pem_x509_certificate((served.authority.parent / "server.crt").read_bytes())
    named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert HOST in named.get_values_for_type(x509.DNSName)
    # A phone that does not trust the authority is warned.
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"https://{served.network_address}:{served.port}/readyz", trust_env=False)


def test_the_authority_can_vouch_for_nothing_on_the_internet(served: Served) -> None:
    certificate = x509.load_pem_x509_certificate(served.authority.read_bytes())
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    names = constraints.value.permitted_subtrees or []
    assert constraints.critical
    assert {name.value for name in names if isinstance(name, x509.DNSName)} <= {
        *("local", "localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"),
    }


def test_the_key_searches_and_does_nothing_else(served: Served) -> None:
    student = Encoder(STUDENT)
    query = pack(student.encode(DEMO / "queries" / "taj-mahal.jpg"))
    headers = {"Askew-Space": student.space_id, "Askew-Dtype": "f16le", "Content-Type": "application/octet-stream"}
    items = "/v1/galleries/demo/items"
    with served.client(served.network_address, served.key) as client:
        hits = client.post("/search", content=query, headers=headers).json()["hits"]
        assert hits[0]["id"] == "taj-mahal"
        assert client.get(f"{items}/taj-mahal/photo").status_code == 200
        assert client.get(items).status_code == 403
        assert client.delete(f"{items}/taj-mahal").status_code == 403
        assert client.get("/v1/keys").status_code == 403
    with served.client(served.network_address) as client:
        assert client.post("/search", content=query, headers=headers).status_code == 401
        assert client.get("/").status_code == 200


def test_each_run_makes_a_new_key_and_the_old_one_ends(served: Served) -> None:
    old = address_in(served.first).split("#key=")[1]
    assert old != served.key
    with served.client(key=old) as client:
        assert client.get("/v1/galleries").status_code == 401
    with served.client(key=served.key) as client:
        assert client.get("/v1/galleries").status_code == 200


def test_a_phone_that_trusts_the_authority_goes_on_trusting(served: Served) -> None:
    before = served.copy.data / "phone"
    assert served.authority.read_bytes() == (before / "authority.crt").read_bytes()
    assert (served.authority.parent / "server.crt").read_bytes() != (before / "server.crt").read_bytes()
    assert "The authority is new" in served.first
    assert "The authority is new" not in served.printed


def test_what_is_secret_is_readable_by_this_user_only_and_in_no_log(served: Served) -> None:
    keys = sorted((served.demo.data / "phone").glob("*.key"))
    assert [path.name for path in keys] == ["authority.key", "server.key"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    log = (served.demo.data / "serve.log").read_text()
    assert log
    # Logs name a key by its public id. A secret may itself hold "_".
    secret = served.key.split("_", 2)[2]
    assert len(secret) == 43
    assert secret not in log
    assert "PRIVATE KEY" not in log


def test_an_expired_authority_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEMO))
    certificates = importlib.import_module("certificates")
    first = certificates.issue_certificates(tmp_path, "machine", ["192.168.1.20", "museum.local"])
    again = certificates.issue_certificates(tmp_path, "machine", ["10.0.0.7", "cellar.museum.local"])
    assert (first.is_new, again.is_new) == (True, False)
    expired = _self_signed(datetime.now(UTC) - timedelta(days=1), tmp_path / "authority.key")
    (tmp_path / "authority.crt").write_bytes(expired)
    renewed = certificates.issue_certificates(tmp_path, "machine", ["192.168.1.20"])
    assert renewed.is_new
    assert renewed.authority.read_bytes() != expired
    # Nor does one serve that may not name the host, or whose files are damaged.
    assert certificates.issue_certificates(tmp_path, "machine", ["museum.example"]).is_new
    assert not certificates.issue_certificates(tmp_path, "machine", ["museum.example"]).is_new
    (tmp_path / "authority.key").write_text("damaged")
    assert certificates.issue_certificates(tmp_path, "machine", ["192.168.1.20"]).is_new
    # What iOS demands of a certificate.
    leaf = x509.load_pem_x509_certificate(renewed.server.read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=825)


def _self_signed(end: datetime, key_file: Path) -> bytes:
    """A certificate of the key in a file that ended at a moment, as PEM."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Askew demo")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(end - timedelta(days=9)).not_valid_after(end)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# Bad input


@pytest.fixture
def fresh(tmp_path: Path) -> SmallDemo:
    return copy_small_demo(tmp_path / "demo")


@pytest.mark.parametrize(
    "host", ["https://museum.local", "museum.local:8443", "-museum", "300.1.1.1", "a b", "0.0.0.0"]
)
def test_a_host_that_is_none_is_reported_in_one_sentence(fresh: SmallDemo, host: str) -> None:
    assert fresh.refusal(free_port(), PHONE="1", HOST=host).startswith(f"HOST={host} is n")


def test_a_busy_port_is_one_sentence(fresh: SmallDemo) -> None:
    with socket.socket() as busy:
        busy.bind(("0.0.0.0", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refusal = fresh.refusal(port, PHONE="1")
    assert str(port) in refusal and "PORT=" in refusal and "PHONE=1" in refusal


def test_a_machine_without_a_network_is_told_so_in_one_sentence(fresh: SmallDemo) -> None:
    alone = (
        "import ifaddr, runpy, sys; ifaddr.get_adapters = lambda: []; "
        f"sys.path.insert(0, {str(fresh.folder)!r}); runpy.run_path({str(fresh.folder / 'run.py')!r}, run_name='__main__')"
    )
    environment = fresh.environment(free_port(), PHONE="1")
    done = subprocess.run(
        [sys.executable, "-c", alone], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("This machine has no network address that a phone could open.")
    assert len(done.stderr.splitlines()) == 1


# The end of the demo is the end of its server


def test_a_server_does_not_outlive_a_demo_that_is_killed(served: Served) -> None:
    port = free_port()
    with served.copy.running(port) as (process, _):
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=60).status_code == 200
        process.kill()
        process.wait(60)
        wait_until(lambda: not _answers(port), "the end of the server")
    # It ended as it should: DATA is free for the next one. It stops listening first, then it lets go of DATA.
    wait_until(lambda: run_askew("key", "list", "--data", served.copy.data).returncode == 0, "the release of DATA")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
