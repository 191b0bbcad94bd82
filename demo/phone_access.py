"""`make demo PHONE=1`: serve the network over TLS, and show a phone the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from addresses import checked_host, is_ipv6, network_addresses, own_names
from certificates import Certificates, issue_certificates
from processes import give_up
from qr_code import qr_code

PORT = 8443


@dataclass(frozen=True)
class PhoneAccess:
    """How phones reach this machine. `host`: the address that they open; `others`: what else the certificate names."""

    host: str
    others: tuple[str, ...]

    @property
    def listens_on(self) -> str:
        """The address to listen on: every network."""
        return "::" if is_ipv6(self.host) else "0.0.0.0"

    def address(self, port: int, key: str) -> str:
        """What a phone opens. A browser does not send what stands after the `#`."""
        host = f"[{self.host}]" if is_ipv6(self.host) else self.host
        return f"https://{host}:{port}/#key={key}"

    def certificates(self, data: Path) -> Certificates:
        """Certificates for all addresses and names of this machine, in a folder of DATA."""
        names = own_names()
        hosts = [self.host, *self.others, *names, "localhost", "127.0.0.1", "::1"]
        return issue_certificates(data / "phone", names[0] if names else self.host, hosts)


def find_access(host: str) -> PhoneAccess:
    """How phones reach this machine. `host`: the address that a person chose, or "". Ends the demo if there is none."""
    addresses = network_addresses()
    if host:
        try:
            return PhoneAccess(checked_host(host), tuple(addresses))
        except ValueError as error:
            give_up(str(error))
    if not addresses:
        give_up(
            "This machine has no network address that a phone could open. Connect it to the phone's network, or name its "
            "address: make demo PHONE=1 HOST=192.168.1.20"
        )
    return PhoneAccess(addresses[0], tuple(addresses[1:]))


def show_the_way(address: str, certificates: Certificates) -> None:
    """Print the address as text and as a QR code, and how to trust the certificate."""
    made = (
        "The authority is new: trust it on the phone"
        if certificates.is_new
        else "A phone that trusts it already is ready"
    )
    print(f"\nOn a phone in the same network, scan this or open {address}\n")
    print(qr_code(address))
    print("The address holds a key that can only search. Whoever sees it can search: do not publish it.\n")
    print(f"{made}. Its certificate is {certificates.authority}; send it to the phone.")
    print(
        "  iOS:     open the file, then install it: Settings > General > VPN & Device Management.\n"
        "           Then switch it on: Settings > General > About > Certificate Trust Settings.\n"
        "  Android: Settings > Security > Encryption & credentials > Install a certificate > CA certificate.\n"
        "           Choose the file. (The names differ a little from phone to phone.)\n"
        "Without that the browser warns first; go on, and camera and search work. What needs trust: installing the app\n"
        "and using it offline. Remove the authority from the phone when you no longer need it."
    )
