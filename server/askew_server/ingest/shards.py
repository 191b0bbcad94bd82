"""One of n disjoint parts of a folder: which files are in it, by their paths alone."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from askew_client.errors import AskewError

MOST_SHARDS = 100_000

_TEXT = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `total` parts, from 1."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3/8`. Raises AskewError."""
        found = _TEXT.fullmatch(text.strip())
        if found is not None:
            number, total = int(found[1]), int(found[2])
            if 1 <= number <= total <= MOST_SHARDS:
                return cls(number, total)
        raise AskewError(
            f"Expected a shard such as 3/8, the third of eight (at most {MOST_SHARDS:,}), got {text[:40]!r}. Numbers begin at 1."
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def owns(self, name: str) -> bool:
        """Whether a path in the folder belongs to this part. Other files in the folder make no difference to it.

        The two ways to write an accent count as the same name, because a line of the payloads may use the other one.
        """
        text = unicodedata.normalize("NFC", Path(name).as_posix()).encode("utf-8", "surrogatepass")
        place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
        return place % self.total == self.number - 1


WHOLE = Shard(1, 1)
"""All files of a folder."""
