"""What a command took of its input, and what it did not: said alike at the end of every command that takes files or lines.

| kind | what it means | exit code |
|---|---|---|
| taken | used | 0 |
| known | taken by an earlier run, and unchanged | 0 |
| replaced | a later one took its place, as the user asked | 0 |
| left out | not meant: system folders, other kinds of files | 0 |
| skipped | meant, and cannot be taken: unreadable photos, broken lines | 3 |
| unmatched | meant for something that is not there: a line for a photo that the folder lacks | 3 |
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from askew_client.contract.errors import PhotoError, PhotoTooLarge, PhotoTooThin

EXIT_INCOMPLETE = 3
"""The exit code of a command that did what it could, and could not take something that was meant."""

Kind = Literal["replaced", "left out", "skipped", "unmatched"]
KINDS: tuple[Kind, ...] = ("replaced", "left out", "skipped", "unmatched")
WITH_EXIT_CODE: tuple[Kind, ...] = ("skipped", "unmatched")
_MOVES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NAMED_AS_TEXT = 5
NAMED_AS_JSON = 1_000
"""How many names of each reason are kept: a set of millions may lack most of its files."""


@dataclass
class Reason:
    """How many were not taken for one reason, and the first of them: a name, and a sentence of its own or ""."""

    count: int = 0
    first: dict[str, str] = field(default_factory=dict)


class Intake:
    """Counts what a command takes, and what it does not, by reason. `unit`: what is counted, such as photos or lines."""

    def __init__(self, unit: str = "photos") -> None:
        self.unit = unit
        self.taken = 0
        self.known = 0
        self.reasons: dict[Kind, dict[str, Reason]] = {kind: {} for kind in KINDS}

    def skip(self, name: str, reason: str, sentence: str = "") -> None:
        """Count one that was meant and cannot be taken. `reason`: a few words, alike for all of its kind.

        `sentence`: what the user is told of this one; "" if name and reason say it all.
        """
        self._add("skipped", name, reason, sentence)

    def leave_out(self, name: str, reason: str, count: int = 1) -> None:
        """Count one, or a folder of `count`, that is passed over on purpose."""
        self._add("left out", name, reason, "", count)

    def replace(self, name: str, reason: str) -> None:
        """Count one whose place a later one took."""
        self._add("replaced", name, reason, "")

    def not_matched(self, name: str, reason: str) -> None:
        """Count one that was meant for something that is not there."""
        self._add("unmatched", name, reason, "")

    def count(self, kind: Kind) -> int:
        """How many are of a kind."""
        return sum(reason.count for reason in self.reasons[kind].values())

    @property
    def exit_code(self) -> int:
        """3 if something that was meant could not be taken, otherwise 0."""
        return EXIT_INCOMPLETE if any(self.count(kind) for kind in WITH_EXIT_CODE) else 0

    def summary(self) -> str:
        """One line without a full stop, such as `112 photos taken, 3 known already, 2 skipped`."""
        parts = [f"{self._counted(self.taken)} taken"]
        if self.known:
            parts.append(f"{self.known:,} known already")
        parts += [f"{self.count(kind):,} {kind}" for kind in KINDS if self.count(kind)]
        return ", ".join(parts)

    def lines(self) -> Iterator[str]:
        """For a person: a line for each reason, and below it the first names or their sentences."""
        for kind, reasons in self.reasons.items():
            for text, reason in reasons.items():
                yield f"{kind}: {self._counted(reason.count)}, {text}"
                first = list(reason.first.items())[:NAMED_AS_TEXT]
                yield from (f"  {_on_one_line(_told(name, sentence))}" for name, sentence in first)
                if reason.count > len(first):
                    yield f"  and {reason.count - len(first):,} more"

    def as_json(self) -> dict[str, Any]:
        """For `--json`: numbers, and for each reason its number and the first names with their sentences."""
        report: dict[str, Any] = {"taken": self.taken, "known": self.known}
        for kind, reasons in self.reasons.items():
            report[kind.replace(" ", "_")] = {
                "count": self.count(kind),
                "reasons": {
                    text: {
                        "count": reason.count,
                        "first": {_printable(name): _printable(each) for name, each in reason.first.items()},
                    }
                    for text, reason in reasons.items()
                },
            }
        return report

    def print_reasons(self) -> None:
        """Print `lines` on standard error."""
        for line in self.lines():
            print(f"askew: {line}", file=sys.stderr)

    def _counted(self, count: int) -> str:
        unit = self.unit if count != 1 else re.sub("ies$", "y", self.unit).removesuffix("s")
        return f"{count:,} {unit}"

    def _add(self, kind: Kind, name: str, text: str, sentence: str, count: int = 1) -> None:
        reason = self.reasons[kind].setdefault(text, Reason())
        reason.count += count
        if len(reason.first) < NAMED_AS_JSON:
            reason.first[name] = sentence


def reason_of(error: PhotoError) -> str:
    """A few words for the kind of a photo's error."""
    if isinstance(error, PhotoTooLarge):
        return "more pixels than allowed"
    if isinstance(error, PhotoTooThin):
        return "too small for the encoder"
    return "cannot be read as a photo"


def _told(name: str, sentence: str) -> str:
    """The sentence of one that was not taken, with its name: some sentences only say what is wrong."""
    return sentence if sentence and name.rpartition("/")[2] in sentence else f"{name}: {sentence}".removesuffix(": ")


def _printable(text: str) -> str:
    """Names of files that are not UTF-8 hold lone surrogates, which no terminal and no JSON reader takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _on_one_line(text: str) -> str:
    """As _printable, and without what would move a terminal's cursor, change its colours or turn the text around."""
    return _MOVES.sub(lambda found: found[0].encode("unicode_escape").decode(), _printable(text))
