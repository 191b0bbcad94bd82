"""`make demo PHONE=1`, opened as a phone opens it: at a name of the network, over TLS, with the key in the address."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.browser.app_page import AppPage
from tests.browser.conftest import open_browser
from tests.support.paths import DEMO
from tests.support.small_demo import address_in, copy_small_demo, free_port

pytestmark = pytest.mark.browser

HOST = "museum.local"


def test_the_address_of_the_qr_code_opens_the_app_and_finds(tmp_path: Path) -> None:
    demo = copy_small_demo(tmp_path / "demo")
    with demo.running(free_port(), PHONE="1", HOST=HOST) as (_, printed):
        address = address_in(printed)
        authority = x509.load_pem_x509_certificate((demo.data / "phone" / "authority.crt").read_bytes())
        public = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        flags = (
            f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
            # Chromium's own way to trust an authority without installing it.
            f"--ignore-certificate-errors-spki-list={base64.b64encode(hashlib.sha256(public).digest()).decode()}",
        )
        with open_browser(tmp_path / "profile", *flags) as browser:
            app = AppPage(browser, address.partition("/#")[0])
            app.open(f"#{address.partition('#')[2]}")
            assert app.driver.current_url == f"{app.url}/"
            assert app.driver.execute_script("return isSecureContext") is True
            assert app.search(DEMO / "queries" / "taj-mahal.jpg")[0] == "taj-mahal"
            key = address.split("#key=")[1]
            assert all(key not in request["url"] for request in browser.requests())
