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
from askew_client.transport.certificates import untrusted
from askew_client.transport.proxies import proxy_for, shown
from askew_client.transport.retry_after import seconds_of

LONGEST_WAIT = 20.0
"""Seconds between two attempts at most, whatever a server's Retry-After says."""
LONGEST_WAIT_TOGETHER = 60.0
"""Seconds that all waits for one request may take."""
RETRIED_STATUSES = (429, 502, 503, 504)
# A timeout is not retried: the server may still be working on the first request.
RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
# What certainly changed nothing: no connection, or an answer that says that the request was not looked at. A 503 may
# come from a server, or a proxy before it, that gave up waiting for work that was begun.
NEVER_BEGUN_STATUSES = (429,)
NEVER_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout)

_FIRST_WAIT = 0.2


class _Policy(Retry):
    """httpx_retries' policy, with our reading of Retry-After, and without hope for an untrusted certificate."""

    def parse_retry_after(self, retry_after: str) -> float:
        seconds = seconds_of(retry_after)
        if seconds is None:
            raise ValueError(f"no Retry-After: {retry_after!r}")
        return seconds

    def is_retryable_exception(self, exception: Exception) -> bool:
        return super().is_retryable_exception(exception) and untrusted(exception, httpx.URL("")) is None


def retry_policy(retries: int, *, repeatable: bool) -> Retry:
    """When a request is sent again, up to `retries` times, and how long to wait before that.

    `repeatable`: whether sending it twice does no more than sending it once.
    """
    return _Policy(
        total=retries,
        allowed_methods=list(HTTPMethod),
        status_forcelist=RETRIED_STATUSES if repeatable else NEVER_BEGUN_STATUSES,
        retry_on_exceptions=RETRIED_ERRORS if repeatable else NEVER_SENT_ERRORS,
        backoff_factor=_FIRST_WAIT,
        backoff_jitter=0.5,
        max_backoff_wait=LONGEST_WAIT,
        total_timeout=LONGEST_WAIT_TOGETHER,
    )


class Requests:
    """Makes the requests of one client, and the errors of those that fail without an answer."""

    def __init__(self, url: str, *, timeout: float, key: str | None, retries: int) -> None:
        """Raises ServerUnreachable if `url` is not an http(s) address, ClientMisused for an unusable key or proxy."""
        self.is_closed = False
        self._url = _checked_url(url)
        self.proxy = proxy_for(self._url)
        self._policies = {each: retry_policy(retries, repeatable=each) for each in (True, False)}
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
    def address(self) -> str:
        """The server's address, without a user and password."""
        return str(self._url)

    @property
    def is_secure(self) -> bool:
        """Whether requests go over TLS, to the server or to the proxy."""
        return "https" in {self._url.scheme, None if self.proxy is None else self.proxy.url.scheme}

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
            extensions={
                "timeout": {"connect": self._timeout, "read": read, "write": read},
                "retry": self._policies[call.is_repeatable],
            },
        )

    def broken(self, error: httpx.HTTPError, request: httpx.Request) -> ServerUnreachable:
        """The error to raise when no complete answer arrived."""
        through = "" if self.proxy is None else f" through the proxy {shown(self.proxy)}, which the environment names"
        if isinstance(error, httpx.ConnectTimeout):
            return ServerUnreachable(f"No server answers at {self._url}{through} in time. Is the address right?")
        if isinstance(error, httpx.TimeoutException):
            seconds = request.extensions["timeout"]["read"]
            return ServerUnreachable(
                f"{self._url} did not answer{through} within {seconds:g} s. Try again later, or open the client with a "
                "longer timeout."
            )
        refused = untrusted(error, self._url)
        if refused is not None:
            return ServerUnreachable(refused)
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.ProxyError):
            return ServerUnreachable(
                f"{self._url} cannot be reached{through}: {reason}. Correct the proxy's address, or name the server's host "
                "in NO_PROXY."
            )
        if isinstance(error, httpx.ConnectError):
            return ServerUnreachable(
                f"No server answers at {self._url}{through} ({reason}). Is the address right, and is `askew serve` running "
                "there?"
            )
        if isinstance(error, httpx.DecodingError):
            return ServerUnreachable(
                f"The answer of {self._url}{through} cannot be decompressed: {reason}. Is there a faulty proxy in front of "
                "the server?"
            )
        return ServerUnreachable(f"The connection to {self._url}{through} broke: {reason}. {_again(request)}")

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


def _again(request: httpx.Request) -> str:
    """What to do after a broken connection."""
    policy = request.extensions["retry"]
    if policy.is_retryable_exception(httpx.ReadError("")):
        return "Try again."
    return "The server may have done what was asked, and doing it twice would not be the same: look first, and then try again."


def _checked_url(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
        # What a name of a host may be is checked nowhere else before it is looked up.
        address.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        address = httpx.URL("")
    if (
        address.scheme not in {"http", "https"}
        or not address.host
        or not 0 < (80 if address.port is None else address.port) < 65_536
    ):
        raise ServerUnreachable(f"Expected the address of a server such as http://127.0.0.1:8000, got {url!r}.")
    return address.copy_with(userinfo=b"", query=None, fragment=None)


def _checked_key(key: str) -> str:
    """The key without surrounding white space (files end in a line feed). Raises ClientMisused."""
    stripped = key.strip() if isinstance(key, str) else ""
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        # The text is not repeated here: it may be a secret.
        raise ClientMisused(
            "Expected an API key such as `ask_…` (ASCII letters, digits and signs without spaces), got another text. "
            "Check --key, ASKEW_KEY or the `key` argument."
        )
    return stripped
