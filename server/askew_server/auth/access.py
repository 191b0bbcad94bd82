"""Which galleries the sender of a request may see."""

from __future__ import annotations

from dataclasses import dataclass

from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal


@dataclass(frozen=True)
class Access:
    """The galleries that the sender of a request may see, by name. `galleries`: None: all of them.

    `listed`: what the key is limited to, aliases as they are, for work that outlasts the request; None: no limit.
    """

    galleries: frozenset[str] | None = None
    listed: tuple[str, ...] | None = None

    def sees(self, gallery: str) -> bool:
        """Whether a gallery is among them. `gallery`: its name, not an alias."""
        return self.galleries is None or gallery in self.galleries

    def require(self, gallery: str, named: str) -> None:
        """Raise Refusal (forbidden) unless the sender may see a gallery, whether or not there is one of that name.

        `named`: what the sender called it, which may be an alias. No other name is told.
        """
        if not self.sees(gallery):
            raise Refusal(
                ProblemKind.FORBIDDEN, f"This key does not give access to gallery {named[:80]!r}. Use another key."
            )
