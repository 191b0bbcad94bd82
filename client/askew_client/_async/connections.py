"""How calls are sent: a pool of connections, bounded retries, and a sentence for every failure."""

from __future__ import annotations

from pathlib import Path

import httpx
from httpx_retries import Retry, RetryTransport

from askew_client._async.blocking import LoopGuard, run_blocking
from askew_client._async.pool import AsyncPool
from askew_client.calls.call import Answer, Call
from askew_client.transport.answers import read_answer
from askew_client.transport.downloads import Download
from askew_client.transport.requests import RETRIED_ERRORS, Requests


class AsyncConnections:
    """Sends the calls of one client; each concurrent call uses a separate connection."""

    def __init__(self, url: str, *, timeout: float, retries: int, key: str | None, ca: str | Path | None) -> None:
        """Prepare; nothing is sent yet. Raises ServerUnreachable if `url` is not an http(s) address, ClientMisused."""
        self._requests = Requests(url, timeout=timeout, key=key, retries=retries)
        self._retries = retries
        pool = AsyncPool(secure=self._requests.is_secure, ca=ca, proxy=self._requests.proxy)
        # Each request names its own policy.
        self._transport = RetryTransport(pool, Retry(total=0))
        self._guard = LoopGuard()

    @property
    def address(self) -> str:
        """The server's address, without a user and password."""
        return self._requests.address

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
        """Receive a file; after a broken connection, continue where it broke. Raises ServerError, ClientMisused."""
        for attempt in range(self._retries + 1):
            request = self._requests.request(call, download.headers())
            response = await self._send(request)
            try:
                if not response.is_success:
                    await response.aread()
                download.begin(response)
                async for chunk in response.aiter_bytes():
                    await run_blocking(download.write, chunk)
                return
            except RETRIED_ERRORS as error:
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
        self._guard.check()
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise self._requests.broken(error, request) from None
        response.request = request
        return response
