"""How models look where people see them: in a notebook, in a log line, in a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Generic, SupportsIndex, TypeVar, overload

from pydantic import BaseModel

SHOWN_ENTRIES = 3
"""Entries of a list or mapping that are shown; the rest is counted."""
SHOWN_CHARACTERS = 40
SHOWN_LEVELS = 3
"""Levels of lists and mappings; what lies deeper is counted."""

Entry = TypeVar("Entry")


class ShortRepr(BaseModel):
    """A model whose repr has a few lines at most, whatever it holds. Its fields, equality and JSON are as they were."""

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            yield name, _Text(short(value))


class Listed(ShortRepr, Generic[Entry]):
    """A model that is a list in the main: it is iterated, sized and indexed as that list.

    A class names the list by `_entries`. As every sized object, an empty one is false.
    """

    def _entries(self) -> list[Entry]:
        raise NotImplementedError

    # Of a model, pydantic would iterate the fields; its own equality, copies and JSON do not go this way.
    def __iter__(self) -> Iterator[Entry]:  # type: ignore[override]
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, entry: object) -> bool:
        return entry in self._entries()

    def __reversed__(self) -> Iterator[Entry]:
        return reversed(self._entries())

    @overload
    def __getitem__(self, place: SupportsIndex) -> Entry: ...

    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> Entry | list[Entry]:
        return self._entries()[place]


class _Text:
    """A text that is its own repr."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def short(value: object, levels: int = SHOWN_LEVELS) -> str:
    """A short repr: texts are cut, and of lists and mappings the first entries are shown and the others counted."""
    if isinstance(value, str | bytes) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]!r}… ({len(value)} in all)"
    if isinstance(value, Listed):
        return f"{type(value).__name__}(… {len(value)})"
    if isinstance(value, BaseModel):
        return repr(value) if levels else f"{type(value).__name__}(…)"
    if isinstance(value, dict):
        entries = (f"{short(name, 0)}: {short(each, levels - 1)}" for name, each in value.items())
        return _cut(entries, len(value), "{}", levels)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _cut((short(each, levels - 1) for each in value), len(value), "[]", levels)
    return repr(value)


def _cut(entries: Iterator[str], count: int, brackets: str, levels: int) -> str:
    shown = list(islice(entries, SHOWN_ENTRIES if levels > 0 else 0))
    rest = [] if len(shown) == count else [f"… {count - len(shown)} more" if shown else f"… {count}"]
    return brackets[0] + ", ".join([*shown, *rest]) + brackets[1]
