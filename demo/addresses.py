"""The addresses by which a phone in the same network reaches this machine."""

from __future__ import annotations

import ipaddress
import re
import socket

import ifaddr

# Reserved for documentation (RFC 5737): no machine has it. A datagram socket only chooses the way there; nothing is sent.
_SOMEWHERE = ("203.0.113.1", 9)
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"
)


def network_addresses() -> list[str]:
    """This machine's IPv4 addresses beyond loopback; the one that leads to other networks first."""
    found = [str(each.ip) for adapter in ifaddr.get_adapters() for each in adapter.ips if each.is_IPv4]
    usable = [address for address in found if not ipaddress.ip_address(address).is_loopback]
    first = _address_to_other_networks()
    # Addresses that the machine gave itself, without a network, come last.
    return sorted(usable, key=lambda each: (each != first, ipaddress.ip_address(each).is_link_local))


def own_names() -> list[str]:
    """The names by which this machine may be reached: its host name, alone and in the local network."""
    name = socket.gethostname().lower()
    if not _HOST_NAME.match(name):
        return []
    return [name] if "." in name else [name, f"{name}.local"]


def checked_host(text: str) -> str:
    """An address or a host name that a person gave, in its usual form. Raises ValueError with a sentence."""
    host = text.strip().lower().removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # What looks like an IPv4 address and is none is no name, either.
        if _HOST_NAME.match(host) and not re.fullmatch(r"[\d.]+", host):
            return host
        raise ValueError(
            f"HOST={text[:80]} is neither a host name nor an IP address: expected one without scheme and port, such as "
            "HOST=192.168.1.20 or HOST=museum.local."
        ) from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"HOST={text[:80]} is no address of one machine. Give the address that the phone shall open.")
    return str(address)


def is_ipv6(host: str) -> bool:
    """Whether a checked host is an IPv6 address."""
    return ":" in host


def _address_to_other_networks() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
        except OSError:
            return None
        return str(probe.getsockname()[0])
