"""The primary as its replica reaches it: calls over HTTP, with a sentence for everything that can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from askew_client.contract.problems import Problem
from askew_client.errors import AskewError
from askew_client.files import PartialFile
from askew_server.replication.bounded import BoundedCalls, GivenUp
from askew_server.replication.connections import Connections
from askew_server.replication.record import Fence, ReplicationRecord
from askew_server.replication.wire import (
    FORMAT,
    Beside,
    BrokenAnswer,
    ChangePage,
    LabelList,
    PrimaryState,
    Summary,
    askew_version,
)

if TYPE_CHECKING:
    # Imported when a primary is followed: most servers follow none.
    import httpx

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")

_SECONDS = 30.0
_SECONDS_TO_CONNECT = 5.0
_SECONDS_FOR_ANSWER = 120.0
"""That an answer in memory may take from its first byte to its last one: some megabytes."""
_SECONDS_FOR_FILE = 3600.0
"""The same for the file of an encoder: some hundred megabytes."""
_MOST_BYTES = 512 * 1024 * 1024
"""Of one answer in memory; a page has some megabytes, and one item may have tens."""
_LARGEST_PROBLEM = 1024 * 1024


class PrimaryUnreachable(AskewError):
    """No answer came from the primary."""


class PrimaryRefused(AskewError):
    """The primary refused. `slug`: the kind of its problem."""

    def __init__(self, slug: str, detail: str, extras: dict[str, object]) -> None:
        super().__init__(detail)
        self.slug = slug
        self.extras = extras


@dataclass(frozen=True)
class Address:
    """Where a primary is, and the file with the key that it asks for; None if it has no keys."""

    url: str
    key_file: Path | None = None

    def key(self) -> str | None:
        """The key, read now, so that it can be replaced while the server runs. Raises AskewError."""
        if self.key_file is None:
            return None
        try:
            key = self.key_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AskewError(
                f"Expected an admin key of the primary in {self.key_file} (--follow-key-file), but it cannot be read: {error}."
            ) from None
        if not key:
            raise AskewError(
                f"Expected an admin key of the primary in {self.key_file} (--follow-key-file); it is empty."
            )
        return key


class Source:
    """The feed of one primary. May be used from several threads. Every call raises PrimaryUnreachable, PrimaryRefused,
    BrokenAnswer, and AskewError for the key's file.
    """

    def __init__(self, address: Address, http: httpx.Client | None = None) -> None:
        """`http`: reaches the primary, whatever its address; None: a new one."""
        import httpx

        from askew_client.transport.certificates import tls_context

        self._address = address
        self._calls = BoundedCalls()
        self._connections = Connections()
        self._record: ReplicationRecord | None = None
        secure = address.url.startswith("https:")
        self._http = http or httpx.Client(
            base_url=address.url.rstrip("/"),
            timeout=httpx.Timeout(_SECONDS, connect=_SECONDS_TO_CONNECT),
            verify=tls_context(verify=secure, ca=None),
        )

    @property
    def url(self) -> str:
        """The primary's address."""
        return self._address.url

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def stop(self) -> None:
        """Give up what is being asked, and refuse to ask, until `go_on`."""
        self._calls.stop()

    def go_on(self) -> None:
        """Ask again."""
        self._calls.go_on()

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Give up what is asked in the block and has not been answered after so many seconds, all together."""
        return self._calls.within(seconds)

    def name(self, record: ReplicationRecord | None) -> None:
        """Name the history and the newest epoch of this record in every further call; None: none."""
        self._record = record

    def state(self, known: str, wait: float) -> PrimaryState:
        """The primary's state, once it is another one than that of the mark `known`, or after `wait` seconds."""
        return self._json(PrimaryState, "state", {"known": known, "wait": f"{wait:g}"}, timeout=wait + _SECONDS)

    def changes(self, name: str, key: str, after: int, removed_after: int) -> ChangePage:
        """See Feed.changes."""
        asked = {"key": key, "after": str(after), "removed_after": str(removed_after)}
        return ChangePage.from_bytes(self._get(_of(name, "changes"), asked))

    def summary(self, name: str, key: str, through: int) -> Summary:
        """See Feed.summary."""
        return self._json(Summary, _of(name, "summary"), {"key": key, "through": str(through)})

    def labels(self, name: str, key: str, range_number: int) -> LabelList:
        """See Feed.labels."""
        return self._json(LabelList, _of(name, "labels"), {"key": key, "range": str(range_number)})

    def beside(self, name: str, key: str) -> Beside:
        """See Feed.beside."""
        return self._json(Beside, _of(name, "beside"), {"key": key})

    def photo(self, name: str, kind: str, file: str) -> bytes | None:
        """The bytes of a photo of an item (kind `photos`) or of a probe (`probes`); None if the primary has it no more."""
        try:
            return self._get(_of(name, f"files/{kind}/{file}"), {})
        except PrimaryRefused as error:
            if error.slug == "unknown-item":
                return None
            raise

    def encoder(self, name: str, sha256: str, file: PartialFile) -> bool:
        """Write the file of an encoder; whether the primary still has it."""

        def fetch(check: Callable[[], None]) -> None:
            with self._answer(_of(name, f"files/encoders/{sha256}"), {}, _SECONDS) as response:
                for chunk in response.iter_bytes():
                    check()
                    file.stream.write(chunk)

        try:
            self._bounded(fetch, _SECONDS_FOR_FILE)
        except PrimaryRefused as error:
            if error.slug == "unknown-item":
                return False
            raise
        return True

    def fence(self, fence: Fence) -> None:
        """Tell the primary that another one has taken its place. It refuses changes when this returns."""

        def send(check: Callable[[], None]) -> None:
            with self._sent("POST", "fence", {}, _SECONDS, json=fence.model_dump(exclude_none=True)) as response:
                self._body(response, check)

        self._bounded(send, _SECONDS)

    def _json(self, model: type[Model], path: str, parameters: Mapping[str, str], timeout: float = _SECONDS) -> Model:
        content = self._get(path, parameters, timeout)
        try:
            return model.model_validate_json(content)
        except ValidationError:
            raise BrokenAnswer(
                f"Expected the feed of Askew {askew_version()} at {self.url}, got another answer. Is it an Askew server of a "
                "version that fits?"
            ) from None

    def _get(self, path: str, parameters: Mapping[str, str], timeout: float = _SECONDS) -> bytes:
        def fetch(check: Callable[[], None]) -> bytes:
            with self._answer(path, parameters, timeout) as response:
                return self._body(response, check)

        return self._bounded(fetch, timeout + _SECONDS_FOR_ANSWER)

    def _bounded(self, work: Callable[[Callable[[], None]], Result], seconds: float) -> Result:
        try:
            return self._calls.call(work, seconds)
        except GivenUp as error:
            # Of every call, as nobody knows which one is whose; the others are repeated, as after any lost connection.
            self._connections.break_off()
            raise PrimaryUnreachable(f"The primary at {self.url} was given up: {error}.") from None

    def _body(self, response: httpx.Response, check: Callable[[], None]) -> bytes:
        parts, size = [], 0
        for chunk in response.iter_bytes():
            check()
            parts.append(chunk)
            size += len(chunk)
            if size > _MOST_BYTES:
                raise BrokenAnswer(f"Expected at most {_MOST_BYTES:,} bytes from {self.url}, got more.")
        return b"".join(parts)

    @contextmanager
    def _answer(self, path: str, parameters: Mapping[str, str], timeout: float) -> Iterator[httpx.Response]:
        with self._sent("GET", path, parameters, timeout) as response:
            yield response

    @contextmanager
    def _sent(
        self, method: str, path: str, parameters: Mapping[str, str], timeout: float, json: Any = None
    ) -> Iterator[httpx.Response]:
        import httpx

        record = self._record
        asked = {"version": askew_version(), "format": str(FORMAT), **parameters}
        if record is not None:
            asked |= {"lineage": record.lineage, "epoch": str(record.epoch.number), "token": record.epoch.token}
        key = self._address.key()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            with self._http.stream(
                method,
                f"/v1/replication/{path}",
                params=asked,
                headers=headers,
                json=json,
                timeout=httpx.Timeout(timeout, connect=_SECONDS_TO_CONNECT),
                extensions={"trace": self._connections.note},
            ) as response:
                if not response.is_success:
                    raise self._refused(response.status_code, _problem_of(response))
                yield response
        except httpx.RemoteProtocolError as error:
            raise BrokenAnswer(f"The answer of {self.url} was cut off: {error}.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> PrimaryUnreachable:
        import httpx

        from askew_client.transport.certificates import untrusted

        about_certificate = untrusted(error, httpx.URL(self.url))
        reason = str(error) or type(error).__name__
        return PrimaryUnreachable(about_certificate or f"The primary at {self.url} does not answer: {reason}.")

    def _refused(self, status: int, content: bytes) -> AskewError:
        try:
            problem = Problem.model_validate_json(content)
        except ValidationError:
            return BrokenAnswer(
                f"Expected the feed of an Askew server at {self.url}, got HTTP status {status} of something else."
            )
        if problem.slug in {"unknown-path", "method-not-allowed"}:
            return PrimaryRefused(
                "replica-refused",
                f"The server at {self.url} has no feed for replicas: it runs an older Askew. Run {askew_version()} on both.",
                {},
            )
        return PrimaryRefused(problem.slug, problem.detail, problem.extras)


def check_address(url: str) -> str:
    """The address of a primary without its last slash. Raises AskewError if it is not an http(s) address."""
    import httpx

    try:
        parsed = httpx.URL(url)
        is_address = parsed.scheme in {"http", "https"} and bool(parsed.host) and not parsed.query
    except httpx.InvalidURL:
        is_address = False
    if not is_address:
        raise AskewError(f"Expected the primary's address, such as https://primary:8080, got {url[:200]!r} (--follow).")
    if parsed.userinfo:
        raise AskewError(
            "Expected --follow without a user and password: the key belongs into a file (--follow-key-file)."
        )
    return url.rstrip("/")


def _problem_of(response: httpx.Response) -> bytes:
    """The first bytes of an answer that is no success: a problem has no more."""
    content = b""
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _LARGEST_PROBLEM:
            break
    return content


def _of(name: str, what: str) -> str:
    return f"galleries/{quote(name, safe='')}/{what}"
