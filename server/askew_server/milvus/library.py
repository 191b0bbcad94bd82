"""pymilvus behind functions: imported by the first call that needs it, with its errors told apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from askew_client.errors import EngineMissing
from askew_server.milvus.place import MilvusPlace

if TYPE_CHECKING:
    from pymilvus import MilvusClient

READ_SECONDS = 10.0
WRITE_SECONDS = 30.0
CHECK_SECONDS = 2.0
LOAD_SECONDS = 10.0

_MAX_REASON = 300


def require_pymilvus() -> None:
    """Import pymilvus. Raises EngineMissing, naming the extra to install."""
    try:
        import pymilvus  # noqa: F401
    except ImportError:
        raise EngineMissing(
            "pymilvus, which speaks to Milvus, is not installed. Install the extra: pip install './server[milvus]'."
        ) from None
    # It writes each failed call to the standard error, with a traceback; the caller reports what it means.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)


def connect(place: MilvusPlace, token: str | None) -> MilvusClient:
    """Connect to a Milvus. Raises EngineMissing, and one of `milvus_errors`."""
    require_pymilvus()
    from pymilvus import MilvusClient

    return MilvusClient(uri=place.uri, token=token or "", db_name=place.database, timeout=CHECK_SECONDS, dedicated=True)


def milvus_errors() -> tuple[type[Exception], ...]:
    """The exceptions of a call to Milvus. Raises EngineMissing."""
    require_pymilvus()
    import grpc
    from pymilvus import MilvusException

    return MilvusException, grpc.RpcError, grpc.FutureTimeoutError


def is_absence(error: Exception) -> bool:
    """Whether Milvus did not answer, or not in time."""
    import grpc

    absent = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
    if isinstance(error, grpc.FutureTimeoutError):
        return True
    if isinstance(error, grpc.RpcError):
        return _status_of(error) in absent
    text = str(getattr(error, "message", error))
    return (
        getattr(error, "code", None) in absent
        or "connect" in type(error).__name__.lower()
        or any(
            word in text
            for word in (
                "StatusCode.UNAVAILABLE",
                "DEADLINE_EXCEEDED",
                "hannel closed",
                "closed channel",
                "Retry timeout",
            )
        )
    )


def is_overload(error: Exception) -> bool:
    """Whether Milvus asks for patience."""
    import grpc

    if isinstance(error, grpc.RpcError):
        return _status_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
    return getattr(error, "code", None) == 8 or "rate limit" in str(error).lower()


def describe_failure(error: Exception) -> str:
    """What Milvus or its client says, on one line."""
    import grpc

    if isinstance(error, grpc.RpcError):
        details = getattr(error, "details", None)
        text = str(details() if callable(details) else error)
    else:
        text = str(getattr(error, "message", None) or error or type(error).__name__)
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}…"


def _status_of(error: Exception) -> object:
    code = getattr(error, "code", None)
    return code() if callable(code) else None
