"""What the server refuses, as exceptions that become problems at the HTTP edge and sentences on a command line."""

from __future__ import annotations

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError, PhotoError


class Refusal(AskewError):
    """A request that the server refuses: the kind of problem, a sentence, and the problem's typed members."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        extras: dict[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.extras = extras or {}
        self.retry_after = retry_after


class DataInUse(AskewError):
    """Another process owns the DATA directory."""


class DamagedGallery(AskewError):
    """A gallery on disk that cannot be opened."""


class PhotoNotDescribed(PhotoError):
    """Describing the photo used more than it may, or ended the process that did it."""
