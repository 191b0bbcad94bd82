"""What both clients share in sending: requests are made here, and so are the errors of requests that got no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from http import HTTPMethod
from importlib import metadata

import httpx
from httpx_retries import Retry

from askew_client.calls.call import Answer, Call, Params, StreamedBody
from askew_client.contract.errors import ClientMisused, ServerUnreachable

LONGEST_WAIT = 20.0
"""Seconds between two attempts at most, whatever a server's Retry-After says."""
LONGEST_WAIT_TOGETHER = 60.0
"""Seconds that all waits for one request may take."""
RETRIED_STATUSES = (429, 502, 503, 504)
# A timeout is not retried: the server may still be working on the first request.
RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)

_FIRST_WAIT = 0.2


def retry_policy(retries: int) -> Retry:
    """When a request is sent again, up to `retries` times, and how long to wait before that."""
    return Retry(
        total=retries,
        # Every call of the API may be repeated: searches change nothing, upserts and admissions replace.
        allowed_methods=list(HTTPMethod),
        status_forcelist=RETRIED_STATUSES,
        retry_on_exceptions=RETRIED_ERRORS,
        backoff_factor=_FIRST_WAIT,
        backoff_jitter=0.5,
        max_backoff_wait=LONGEST_WAIT,
        total_timeout=LONGEST_WAIT_TOGETHER,
    )


class Requests:
    """Makes the requests of one client, and the errors of those that fail without an answer."""

    def __init__(self, url: str, *, timeout: float, key: str | None) -> None:
        """Raises ServerUnreachable if `url` is not an http(s) address, ClientMisused if `key` cannot be a key."""
        self.is_closed = False
        self._url = _checked_url(url)
        self._timeout = timeout
        self._headers = {
            "Host": self._url.netloc.decode("ascii"),
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"askew-client/{metadata.version('askew-client')}",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {_checked_key(key)}"
        # A client calls the same few addresses repeatedly, and parsing one costs as much as the rest of this class.
        self._address = lru_cache(maxsize=256)(self._make_address)

    @property
    def is_secure(self) -> bool:
        """Whether requests go over TLS."""
        return self._url.scheme == "https"

    def request(self, call: Call[Answer], headers: Mapping[str, str] | None = None) -> httpx.Request:
        """The HTTP request of a call; `headers` are added to its own. Raises ClientMisused if the client is closed."""
        if self.is_closed:
            raise ClientMisused("This client is closed. Open another one.")
        body = call.body
        length = body.length if isinstance(body, StreamedBody) else len(body)
        sized = {"Content-Length": str(length)} if length or call.method in {"POST", "PUT"} else {}
        read = self._timeout if call.timeout is None else call.timeout
        return httpx.Request(
            call.method,
            self._address(call.path, call.params),
            headers={**self._headers, **sized, **call.headers, **(headers or {})},
            stream=BodyStream(body) if isinstance(body, StreamedBody) else httpx.ByteStream(body),
            extensions={"timeout": {"connect": self._timeout, "read": read, "write": read}},
        )

    def broken(self, error: httpx.HTTPError, request: httpx.Request) -> ServerUnreachable:
        """The error to raise when no complete answer arrived."""
        if isinstance(error, httpx.ConnectTimeout):
            return ServerUnreachable(f"No server answers at {self._url} in time. Is the address right?")
        if isinstance(error, httpx.TimeoutException):
            seconds = request.extensions["timeout"]["read"]
            return ServerUnreachable(
                f"{self._url} did not answer within {seconds:g} s. Try again later, or open the client with a longer "
                "timeout."
            )
        if isinstance(error, httpx.ConnectError):
            return ServerUnreachable(
                f"No server answers at {self._url} ({error}). Is the address right, and is `askew serve` running there?"
            )
        reason = str(error) or type(error).__name__
        return ServerUnreachable(f"The connection to {self._url} broke: {reason}. Try again.")

    def _make_address(self, path: str, params: Params) -> httpx.URL:
        query = str(httpx.QueryParams(params))
        whole = self._url.raw_path.rstrip(b"/") + path.encode("ascii")
        return self._url.copy_with(raw_path=whole + (b"?" + query.encode("ascii") if query else b""))


class BodyStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is read while it is sent; each attempt reads it from the beginning."""

    def __init__(self, body: StreamedBody) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._body.chunks()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._body.chunks()
        # A disk may be slow, and the event loop has other requests to serve.
        while chunk := await asyncio.to_thread(next, chunks, b""):
            yield chunk


def _checked_url(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in {"http", "https"} or not address.host:
        raise ServerUnreachable(f"Expected the address of a server such as http://127.0.0.1:8000, got {url!r}.")
    return address.copy_with(userinfo=b"", query=None, fragment=None)


def _checked_key(key: str) -> str:
    """The key without surrounding white space (files end in a line feed). Raises ClientMisused."""
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        # The text is not repeated here: it may be a secret.
        raise ClientMisused(
            "Expected an API key such as `ask_…` (ASCII letters, digits and signs without spaces), got another text. "
            "Check --key, ASKEW_KEY or the `key` argument."
        )
    return stripped
