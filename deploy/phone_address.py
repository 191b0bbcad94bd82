"""PHONE_HOST: how a phone reaches the demo behind the TLS proxy of docker-compose.yml."""

from __future__ import annotations

import os
from pathlib import Path

from askew_command import create_key, keys_of, write_secret
from demo_gallery import GALLERY
from qr_code import qr_code

FILE = ".phone-key"


def show_the_way(askew: str, data: Path, host: str) -> None:
    """Print the address that a phone opens, as text and as a QR code, and how it comes to trust the certificate."""
    key = phone_key(askew, data)
    port = os.environ.get("PHONE_PORT") or "8443"
    address = f"https://{host}:{port}/#key={key}"
    print(f"\nOn a phone in the same network, scan this or open {address}\n")
    print(qr_code(address))
    print(
        "The address holds a key that can only search. Whoever sees it can search: do not publish it.\n"
        f"On this machine: http://127.0.0.1:8000/#key={key}\n\n"
        "The browser warns about the certificate; go on, and camera and search work. To install the app or to use it\n"
        "offline, let the phone trust the authority: docker compose cp proxy:/certificates/authority.crt .\n"
        "Send that file to the phone and install it as a CA certificate (docs/deploy.md)."
    )


def phone_key(askew: str, data: Path) -> str:
    """The key of the phones, which can only search the demo: that of the starts before, or a new one."""
    path = data / FILE
    ids = {each["id"] for each in keys_of(askew, data)}
    if path.exists():
        key = path.read_text().strip()
        # A key is `ask_`, its id, and its secret.
        if key.count("_") >= 2 and key.split("_")[1] in ids:
            return key
    key = create_key(askew, data, "phone", "--scope", "search", "--gallery", GALLERY)
    write_secret(path, key + "\n")
    return key
