"""The proxy between a client and its server, as the environment names it; none for a server on this machine."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec
from urllib.request import getproxies, proxy_bypass

import httpx

from askew_client.contract.errors import ClientMisused


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy for an address: HTTP_PROXY or HTTPS_PROXY by its scheme, else ALL_PROXY; also in lower case.

    None without one, for a host that NO_PROXY names, and for this machine. Raises ClientMisused for a proxy that cannot
    be used.
    """
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or is_this_machine(url.host) or _is_excepted(url, proxies.get("no", "")):
        return None
    with_scheme = address if "://" in address else f"http://{address}"
    try:
        proxy = httpx.Proxy(with_scheme)
        usable = bool(proxy.url.host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        # The address is not repeated: it may hold a password.
        raise ClientMisused(
            f"Expected the address of a proxy such as http://proxy.example:3128 in {url.scheme.upper()}_PROXY or "
            "ALL_PROXY, got something else. Correct it, or name the server's host in NO_PROXY."
        )
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ClientMisused(
            f"The environment names a SOCKS proxy ({shown(proxy)}), which needs a package that is not installed. "
            "Install it: pip install 'httpx[socks]'. Or name the server's host in NO_PROXY."
        )
    return proxy


def shown(proxy: httpx.Proxy) -> str:
    """A proxy's address for a message, without its user and password."""
    return str(proxy.url.copy_with(userinfo=b""))


def is_this_machine(host: str) -> bool:
    """Whether a host is the loopback of this machine, by its name or number: no proxy can reach that for us."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _number_of(name)
    if address is None:
        return False
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any(each.is_loopback or each.is_unspecified for each in (address, inner) if each is not None)


def _is_excepted(url: httpx.URL, exceptions: str) -> bool:
    """Whether NO_PROXY names the host: itself, with its port, by its domain, or by a network such as 10.0.0.0/8."""
    port = url.port or (443 if url.scheme == "https" else 80)
    if proxy_bypass(url.host) or proxy_bypass(f"{url.host}:{port}"):
        return True
    address = _number_of(url.host)
    for entry in (each.strip() for each in exceptions.split(",")):
        if entry.startswith("*.") and url.host.lower().endswith(entry[1:].lower()):
            return True
        try:
            if address is not None and address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _number_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, in any form that the system reads (127.1 is 127.0.0.1); None for a name."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        pass
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
