"""How both clients send calls: a pool of connections, bounded retries, and sentences instead of tracebacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from http import HTTPMethod
from importlib import metadata

import httpx
from httpx_retries import Retry, RetryTransport

from askew_client._sync.pool import AsyncPool, Pool
from askew_client.calls.call import Answer, Call, Params, StreamedBody
from askew_client.contract.errors import ClientMisused, ServerUnreachable
from askew_client.transport.answers import read_answer
from askew_client.transport.downloads import Download

LONGEST_WAIT = 20.0
"""Seconds between two tries at most, whatever a server's Retry-After says."""
LONGEST_WAIT_TOGETHER = 60.0
"""Seconds that all waits for one request may take."""
RETRIED_STATUSES = (429, 502, 503, 504)

_FIRST_WAIT = 0.2
# No answer in time is no reason to ask again: the server may be at work on the first request still.
_RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)


class Connections:
    """Sends calls, one at a time for each thread that asks."""

    def __init__(self, url: str, *, timeout: float, retries: int, key: str | None) -> None:
        """Prepare; nothing is sent yet. Raises ServerUnreachable when `url` is no http(s) address."""
        self._requests = Requests(url, timeout=timeout, key=key)
        self._retries = retries
        self._transport = RetryTransport(Pool(secure=self._requests.is_secure), _retry(retries))

    def run(self, call: Call[Answer]) -> Answer:
        """Send a call and read its answer. Raises ServerError, ClientMisused."""
        response = self._send(self._requests.request(call))
        try:
            response.read()
        except httpx.HTTPError as error:
            raise self._requests.broken(error, response.request) from None
        finally:
            response.close()
        return read_answer(response, call.answer)

    def download(self, call: Call[bytes], download: Download) -> None:
        """Receive a file; a connection that breaks is taken up again where it broke. Raises ServerError."""
        for attempt in range(self._retries + 1):
            request = self._requests.request(call, download.headers())
            response = self._send(request)
            try:
                if not response.is_success:
                    response.read()
                download.begin(response)
                for chunk in response.iter_bytes():
                    download.write(chunk)
                return
            except _RETRIED_ERRORS as error:
                if attempt == self._retries:
                    raise self._requests.broken(error, request) from None
            except httpx.HTTPError as error:
                raise self._requests.broken(error, request) from None
            finally:
                response.close()

    def close(self) -> None:
        """Close the connections."""
        self._requests.is_closed = True
        self._transport.close()

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._transport.handle_request(request)
        except httpx.HTTPError as error:
            raise self._requests.broken(error, request) from None
        response.request = request
        return response


class AsyncConnections:
    """Sends calls, as many at once as are awaited, each over a connection of its own."""

    def __init__(self, url: str, *, timeout: float, retries: int, key: str | None) -> None:
        """Prepare; nothing is sent yet. Raises ServerUnreachable when `url` is no http(s) address."""
        self._requests = Requests(url, timeout=timeout, key=key)
        self._retries = retries
        self._transport = RetryTransport(AsyncPool(secure=self._requests.is_secure), _retry(retries))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, call: Call[Answer]) -> Answer:
        """Send a call and read its answer. Raises ServerError, ClientMisused."""
        response = await self._send(self._requests.request(call))
        try:
            await response.aread()
        except httpx.HTTPError as error:
            raise self._requests.broken(error, response.request) from None
        finally:
            await response.aclose()
        return read_answer(response, call.answer)

    async def download(self, call: Call[bytes], download: Download) -> None:
        """Receive a file; a connection that breaks is taken up again where it broke. Raises ServerError."""
        for attempt in range(self._retries + 1):
            request = self._requests.request(call, download.headers())
            response = await self._send(request)
            try:
                if not response.is_success:
                    await response.aread()
                download.begin(response)
                async for chunk in response.aiter_bytes():
                    await asyncio.to_thread(download.write, chunk)
                return
            except _RETRIED_ERRORS as error:
                if attempt == self._retries:
                    raise self._requests.broken(error, request) from None
            except httpx.HTTPError as error:
                raise self._requests.broken(error, request) from None
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        self._requests.is_closed = True
        await self._transport.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        self._stay_in_one_loop()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise self._requests.broken(error, request) from None
        response.request = request
        return response

    def _stay_in_one_loop(self) -> None:
        """Connections belong to the event loop that opened them. Raises ClientMisused."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ClientMisused(
                "An AsyncClient works inside asyncio's event loop, and none runs here. Start one with asyncio.run(main()), or "
                "use Client."
            ) from None
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientMisused(
                "This AsyncClient was used in another event loop before. Open one in each loop: `async with AsyncClient(url)` "
                "inside the function that asyncio.run runs."
            )


class Requests:
    """Makes the requests of one client, and says what went wrong with them."""

    def __init__(self, url: str, *, timeout: float, key: str | None) -> None:
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
        # A client asks for the same few addresses again and again, and taking one apart costs as much as the rest here.
        self._address = lru_cache(maxsize=256)(self._make_address)

    @property
    def is_secure(self) -> bool:
        """Whether the server is spoken to in TLS."""
        return self._url.scheme == "https"

    def request(self, call: Call[Answer], headers: Mapping[str, str] | None = None) -> httpx.Request:
        """A request for a call. Raises ClientMisused."""
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
        """What to raise when no whole answer came."""
        if isinstance(error, httpx.ConnectTimeout):
            return ServerUnreachable(f"No server answers at {self._url} in time. Is the address right?")
        if isinstance(error, httpx.TimeoutException):
            seconds = request.extensions["timeout"]["read"]
            return ServerUnreachable(
                f"{self._url} gave no answer within {seconds:g} s. Try again later, or open the client with a longer timeout."
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
    """A body that is read while it is sent, from the beginning at each try."""

    def __init__(self, body: StreamedBody) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._body.chunks()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._body.chunks()
        # A disk may be slow, and the event loop has other requests to look after.
        while chunk := await asyncio.to_thread(next, chunks, b""):
            yield chunk


def _checked_url(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in {"http", "https"} or not address.host:
        raise ServerUnreachable(f"{url!r} is no address of a server. Expected one such as http://127.0.0.1:8000.")
    return address.copy_with(userinfo=b"", query=None, fragment=None)


def _checked_key(key: str) -> str:
    """A key without the line end that a file gave it. Raises ClientMisused for what no header can hold."""
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise ClientMisused(
            "Expected an API key such as `ask_…`: letters, digits and signs, no blanks. Is it the right text?"
        )
    return stripped


def _retry(retries: int) -> Retry:
    return Retry(
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
