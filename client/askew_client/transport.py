"""How the client sends: one pool of connections, bounded retries, and sentences instead of tracebacks."""

from __future__ import annotations

from http import HTTPMethod

import httpx
from httpx_retries import Retry, RetryTransport

from askew_client.errors import ServerUnreachable

LONGEST_WAIT = 20.0
"""Seconds between two tries at most, whatever a server's Retry-After says."""
LONGEST_WAIT_TOGETHER = 60.0
"""Seconds that all waits for one request may take."""
RETRIED_STATUSES = (429, 502, 503, 504)

_FIRST_WAIT = 0.2
# No answer in time is no reason to ask again: the server may be at work on the first request still.
_RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)


def open_connections(url: str, *, timeout: float, retries: int, key: str | None) -> httpx.Client:
    """The connections of one Client. Raises ServerUnreachable when `url` is no http(s) address."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in {"http", "https"} or not address.host:
        raise ServerUnreachable(f"{url!r} is no address of a server. Expected one such as http://127.0.0.1:8000.")
    retry = Retry(
        total=retries,
        # Every call of the API may be repeated: searches change nothing, upserts and admissions replace.
        allowed_methods=list(HTTPMethod),
        status_forcelist=RETRIED_STATUSES,
        retry_on_exceptions=_RETRIED_ERRORS,
        backoff_factor=_FIRST_WAIT,
        backoff_jitter=0.5,
        max_backoff_wait=LONGEST_WAIT,
        total_timeout=LONGEST_WAIT_TOGETHER,
    )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(
        base_url=address,
        headers=headers,
        timeout=timeout,
        transport=RetryTransport(transport=httpx.HTTPTransport(), retry=retry),
    )


def send(connections: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send a request and read the whole answer, whatever its status. Raises ServerUnreachable."""
    url = connections.base_url
    try:
        return connections.send(request)
    except httpx.ConnectTimeout:
        raise ServerUnreachable(f"No server answers at {url} in time. Is the address right?") from None
    except httpx.TimeoutException:
        seconds = request.extensions["timeout"]["read"]
        raise ServerUnreachable(
            f"{url} gave no answer within {seconds:g} s. Try again later, or open the client with a longer timeout."
        ) from None
    except httpx.ConnectError as error:
        raise ServerUnreachable(
            f"No server answers at {url} ({error}). Is the address right, and is `askew serve` running there?"
        ) from None
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachable(f"The connection to {url} broke: {reason}. Try again.") from None
