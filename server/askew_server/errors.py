"""What the server refuses, as exceptions that become problems at the HTTP edge and sentences on a command line."""

from __future__ import annotations

from collections.abc import Iterable

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


class UnknownGallery(Refusal):
    """There is no gallery of a name. Which ones there are is told to those who may see them: see `sentence`."""

    def __init__(self, name: str, known: Iterable[tuple[str, str]]) -> None:
        """`known`: names of galleries and aliases, each with the name of the gallery that it means."""
        super().__init__(ProblemKind.UNKNOWN_GALLERY, f"There is no gallery {name[:80]!r}.")
        self._known = sorted(known)

    def sentence(self, seen: frozenset[str] | None) -> str:
        """The refusal with the names that mean one of these galleries; None: of all there are."""
        known = ", ".join(name for name, gallery in self._known if seen is None or gallery in seen)
        if not known and seen is None:
            known = "none yet; `askew index PHOTOS` creates one"
        return f"{super().__str__()} Known: {known}." if known else super().__str__()

    def __str__(self) -> str:
        # On a command line and in a log, which have no limits.
        return self.sentence(None)


class DataInUse(AskewError):
    """Another process owns the DATA directory."""


class MissingSecret(AskewError):
    """A secret that a gallery needs is not in the environment."""


class DamagedGallery(AskewError):
    """A gallery on disk that cannot be opened."""


class PhotoNotDescribed(PhotoError):
    """Describing the photo used more than it may, or ended the process that did it."""
