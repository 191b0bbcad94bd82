"""Galleries that are out of service because their files are damaged."""

from __future__ import annotations

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal


class DamagedGalleries:
    """The reason for each damaged gallery, by name. Any thread may read it; only one at a time may change it."""

    def __init__(self) -> None:
        # Replaced as a whole, so that a reader sees the state either before or after a change.
        self._reasons: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    def reasons(self) -> dict[str, str]:
        """A sentence about the damage of each gallery, sorted by name."""
        return dict(sorted(self._reasons.items()))

    def add(self, name: str, reason: str) -> Refusal:
        """Take a gallery out of service; returns the refusal of what is asked of it."""
        self._reasons = {**self._reasons, name: reason}
        return _refusal(name, reason)

    def discard(self, name: str) -> None:
        """Remove a gallery that was deleted or replaced."""
        self._reasons = {each: reason for each, reason in self._reasons.items() if each != name}

    def require_intact(self, name: str) -> None:
        """Raise Refusal (damaged-gallery) if this gallery is damaged."""
        reason = self._reasons.get(name)
        if reason is not None:
            raise _refusal(name, reason)


def _refusal(name: str, reason: str) -> Refusal:
    return Refusal(
        ProblemKind.DAMAGED_GALLERY,
        f"{reason} The other galleries are served. Run `askew doctor` to see what is left of this one, then "
        "restore a snapshot of it or delete it.",
        {"gallery": name},
    )
