"""Which certificates a client trusts, and the sentence for one that it does not."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

from askew_client.contract.errors import ClientMisused

_OUT_OF_DATE = {9: "is not valid yet", 10: "has expired"}
_OTHER_HOST = {62, 64}
"""OpenSSL's verification codes X509_V_ERR_…: NOT_YET_VALID, HAS_EXPIRED; HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH."""


def tls_context(*, verify: bool, ca: str | Path | None) -> ssl.SSLContext:
    """Trusts the well-known authorities, or those in SSL_CERT_FILE or SSL_CERT_DIR, and the certificates in `ca` (PEM).

    `verify`: False where nothing is sent over TLS: reading the trusted certificates takes 10 ms. Raises ClientMisused.
    """
    named = os.environ.get("SSL_CERT_FILE")
    try:
        context = httpx.create_ssl_context(verify=verify)
    except (OSError, ValueError) as error:
        raise _unusable(f"SSL_CERT_FILE ({named})" if named else "the trusted certificates", error) from None
    if ca is not None:
        try:
            context.load_verify_locations(cafile=ca)
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(f"`ca` ({ca})", error) from None
    return context


def untrusted(error: BaseException | None, url: httpx.URL) -> str | None:
    """What to say of a connection that failed because of the server's certificate; None if it failed otherwise."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    if error.verify_code in _OUT_OF_DATE:
        return (
            f"The certificate of {url} {_OUT_OF_DATE[error.verify_code]}. Renew it on the server, and check the clock of "
            "this machine."
        )
    if error.verify_code in _OTHER_HOST:
        return (
            f"The certificate of {url} is for another host ({error.verify_message}). Use the name that it is made for."
        )
    return (
        f"The certificate of {url} is not trusted ({error.verify_message}). If its authority is your own, name that "
        "authority's certificate (a PEM file) in the environment variable SSL_CERT_FILE, or give it to the client as `ca`."
    )


def _unusable(what: str, error: Exception) -> ClientMisused:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return ClientMisused(f"Expected a file of PEM certificates in {what}, but it cannot be used: {reason}.")
