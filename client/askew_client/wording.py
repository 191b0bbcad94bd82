"""Sentences for values that do not fit the contract, in the place of pydantic's own messages and regular expressions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

MAX_SHOWN = 60
"""Characters of a refused value that a sentence repeats."""
_IN_REQUEST = {"body", "query", "path", "header", "cookie"}
_BRANCH = re.compile(
    r"(str|int|float|bool|none|constrained-\w+|date|datetime|[A-Z]\w*|is-instance.*|(list|dict|set|tuple|literal|nullable|"
    r"function-\w+|lax-or-strict|json-or-python|tagged-union|union|model|definition-ref)(\[.*|$))",
    re.DOTALL,
)
"""What pydantic puts into the place of an error for the branch of a union. No member of the contract has such a name."""


@dataclass(frozen=True)
class TextRule:
    """What a text with a pattern must be, in words. `noun`: by the member's name. `suggest`: a text of that form."""

    words: str
    noun: str
    nouns: Mapping[str, str]
    suggest: Callable[[str], str] | None = None

    def phrase(self, member: str) -> str:
        """What is expected in a member, such as "a gallery name of 1 to 63 lower-case letters"."""
        return f"{self.nouns.get(member, self.noun)} {self.words}"


@dataclass(frozen=True)
class Fault:
    """A value that is wrong. `pointer`: to it, such as `/queries/0/dtype`; in a request's parameter, `/query/limit`."""

    pointer: str
    sentence: str


def describe_errors(errors: Sequence[ErrorDetails]) -> list[Fault]:
    """A sentence for each value that is wrong: what was expected, what came, and what to do where that is known.

    `errors`: of one ValidationError, with their input. The branches of a union are one expectation: "text or a list".
    """
    grouped: dict[tuple[tuple[str | int, ...], int], list[ErrorDetails]] = {}
    for error in errors:
        grouped.setdefault((_location(error), id(error.get("input"))), []).append(error)
    return [
        Fault("".join(f"/{part}" for part in location), _sentence(_place(same[0]), same))
        for (location, _), same in grouped.items()
    ]


def describe_error(error: ValidationError) -> str:
    """The sentence for the first value that is wrong."""
    return describe_errors(error.errors(include_url=False))[0].sentence


def expectation(error: ValidationError) -> str:
    """What was expected of the first value that is wrong, in words that follow "Expected" in a sentence of the caller."""
    errors = error.errors(include_url=False)
    if errors[0]["type"] == "value_error":
        return errors[0]["msg"].partition(", ")[2].removeprefix("expected ").rstrip(".")
    location, value = _location(errors[0]), errors[0].get("input")
    same = [each for each in errors if _location(each) == location and each.get("input") is value]
    return _expected(_place(errors[0]), same)


@lru_cache(maxsize=1)
def text_rules() -> Mapping[str, TextRule]:
    """The words for each pattern of the contract."""
    from askew_client.contract import common, health, keys, manifest, snapshots, space

    plain: Mapping[str, str] = {}
    return {
        _pattern(common.GalleryName): TextRule(
            "of 1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit",
            "a gallery name",
            {"alias": "an alias"},
            suggest_name,
        ),
        _pattern(common.ItemId): TextRule("of 1 to 512 characters, none of them a control character", "an id", plain),
        _pattern(keys.KeyName): TextRule("of 1 to 100 characters, none of them a control character", "a name", plain),
        _pattern(manifest.EncoderName): TextRule(
            "of 1 to 64 lower-case letters, digits, ., - and _, beginning and ending with a letter or digit",
            "a name",
            {"version": "a version"},
        ),
        _pattern(health.Address): TextRule("that begins with http:// or https://", "an address", plain),
        _pattern(snapshots.SnapshotName): TextRule("such as 20260131T120000Z", "a snapshot's name", plain),
        _pattern(snapshots.Sha256): TextRule("of 64 digits, 0 to 9 and a to f", "a SHA-256", plain),
        space.SPACE_ID_PATTERN: TextRule("of the form sp1- and 32 digits, 0 to 9 and a to f", "a space", plain),
    }


def suggest_name(text: str) -> str:
    """A name of a gallery that resembles a text; empty if nothing of it can be used."""
    letters = unicodedata.normalize("NFKD", text[:200]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", letters).lstrip("-_")[:63].rstrip("-")


def show_value(value: object) -> str:
    """A value as sentences show it: short, with its kind where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _shortened(_digits(value))
    if isinstance(value, str | bytes):
        return _shortened(repr(value if isinstance(value, str) else value[:MAX_SHOWN].decode("utf-8", "replace")))
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    return f"a value of type {type(value).__name__}"


def _digits(value: float) -> str:
    try:
        return repr(value)
    except ValueError:
        # Python writes no integers of more than 4,300 digits.
        return "an integer of thousands of digits"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN + 2 else f"{text[:MAX_SHOWN]}…"


def _pattern(annotated: Any) -> str:
    """The pattern of an annotated text."""
    found: str = next(mark.pattern for mark in annotated.__metadata__ if getattr(mark, "pattern", None))
    return found


def _location(error: ErrorDetails) -> tuple[str | int, ...]:
    """Where the value is: members and positions, without branches of unions."""
    return tuple(part for part in error["loc"] if isinstance(part, int) or _BRANCH.fullmatch(part) is None)


def _place(error: ErrorDetails) -> tuple[str | int, ...]:
    """Where the value is, without the part of the request."""
    location = _location(error)
    return location[1:] if location and location[0] in _IN_REQUEST else location


def _dotted(place: tuple[str | int, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:MAX_SHOWN]}" for part in place)
    return "".join(parts).removeprefix(".")


def _sentence(place: tuple[str | int, ...], errors: Sequence[ErrorDetails]) -> str:
    error = errors[0]
    where = f" in `{_dotted(place)}`" if place else ""
    match error["type"]:
        case "missing" | "missing_argument":
            above = f" in `{_dotted(place[:-1])}`" if place[:-1] else ""
            return f"Expected `{place[-1] if place else 'a value'}`{above}, which is missing. Add it."
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"Expected only known members, got `{_dotted(place)}`. Is it misspelt? Leave it out otherwise."
        case "value_error" | "assertion_error":
            message = error["msg"].partition(", ")[2] or error["msg"]
            return f"{_capitalised(message).rstrip('.')}{where}."
        case "json_invalid":
            return f"{error['msg'].rstrip('.')}."
        case "recursion_loop":
            return f"Expected a value that does not contain itself{where}."
    # Two or more branches of a union that fail for one value are one expectation.
    # The contract's own errors begin like a sentence, and say what came where that helps.
    if len(errors) == 1 and error["msg"].startswith("expected "):
        return f"{_capitalised(error['msg']).rstrip('.')}{where}."
    rule = text_rules().get(_context(error, "pattern"))
    if rule is not None and len(place) <= 1:
        # The noun says which member is meant.
        where = ""
    sentence = f"Expected {_expected(place, errors)}{where}, got {show_value(error.get('input'))}."
    given = error.get("input")
    suggestion = rule.suggest(given) if rule is not None and rule.suggest and isinstance(given, str) else ""
    return f"{sentence} Try {suggestion!r}." if suggestion else sentence


def _expected(place: tuple[str | int, ...], errors: Sequence[ErrorDetails]) -> str:
    return " or ".join(dict.fromkeys(_phrase(place, error) for error in errors))


def _phrase(place: tuple[str | int, ...], error: ErrorDetails) -> str:
    """What is expected, to follow the word "Expected"."""
    kind = error["type"]
    if kind in _TYPES:
        return _TYPES[kind]
    member = next((str(part) for part in reversed(place) if isinstance(part, str)), "")
    if kind == "string_pattern_mismatch":
        rule = text_rules().get(_context(error, "pattern"))
        return "text of another form" if rule is None else rule.phrase(member)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{words} {_context(error, bound)}"
    if kind in {"literal_error", "enum"}:
        return f"one of {_context(error, 'expected')}".replace("one of one of", "one of")
    if kind in {"string_too_short", "string_too_long"}:
        return f"text of {_at(kind, error)} {_counted(error, 'character')}"
    if kind in {"too_short", "too_long"}:
        return f"{_at(kind, error)} {_counted(error, 'entry', 'entries')}"
    return _from_message(error["msg"])


def _at(kind: str, error: ErrorDetails) -> str:
    return "at least" if kind.endswith("short") else "at most"


def _counted(error: ErrorDetails, one: str, many: str | None = None) -> str:
    bound = _context(error, "min_length") or _context(error, "max_length")
    return f"{bound} {one if bound == '1' else many or one + 's'}"


def _context(error: ErrorDetails, name: str) -> str:
    value = error.get("ctx", {}).get(name)
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _from_message(message: str) -> str:
    """pydantic's own message as a phrase, for the kinds of errors that have no words here."""
    rest = re.sub(r"^([\w ]+? should (be )?|expected )", "", message)
    if rest != message:
        return rest.rstrip(".")
    return f"a value that fits ({message.rstrip('.')})"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


_INTEGER = "a whole number"
_NUMBER = "a number"
_FLAG = "true or false"
_OBJECT = "an object"
_MOMENT = "a time such as 2026-01-31T12:00:00Z"
_DATE = "a day such as 2026-01-31"
_TYPES: Mapping[str, str] = {
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "string_sub_type": "text",
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "none_required": "null",
    "path_type": "a path",
    "bytes_type": "bytes",
    "datetime_type": _MOMENT,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
    "datetime_object_invalid": _MOMENT,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "timezone_aware": f"{_MOMENT}, with its offset from UTC",
    "timezone_naive": "a time without an offset from UTC",
    "datetime_past": "a time in the past",
    "datetime_future": "a time in the future",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("a number of at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("a number of at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
