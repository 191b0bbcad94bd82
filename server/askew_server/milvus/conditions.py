"""Conditions on payloads as Milvus's expressions over tokens.

An expression selects exactly the items that meet its condition, or, where tokens cannot say it, more of them: a range of
numbers or dates becomes "the field has a number, or a text". The rest is then evaluated here, on the payloads of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from askew_client.contract.filters.conditions import AllOf, AnyOf, Equals, Exists, Filter, Not, OneOf, Range
from askew_client.contract.filters.field_paths import keys_of
from askew_server.index.types import Expression
from askew_server.milvus.tokens import exists_token, type_token, value_token
from askew_server.storage.filtering.predicates import compares_dates

EVERYTHING = Expression("")

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True)
class Compiled:
    """An expression, and whether it selects no more than the items that meet the condition."""

    expression: Expression
    is_exact: bool


def compile_condition(condition: Filter) -> Compiled:
    """A condition as an expression."""
    match condition:
        case Equals(field=field, eq=value):
            return Compiled(has_any([value_token(keys_of(field), value)]), is_exact=True)
        case OneOf(field=field, one_of=values):
            tokens = dict.fromkeys(value_token(keys_of(field), value) for value in values)
            return Compiled(has_any(list(tokens)), is_exact=True)
        case Exists(field=field, exists=exists):
            found = has_any([exists_token(keys_of(field))])
            return Compiled(found if exists else Expression(f"not ({found})"), is_exact=True)
        case Range(field=field, range=bounds):
            name = "text" if compares_dates(bounds) else "number"
            return Compiled(has_any([type_token(keys_of(field), name)]), is_exact=False)
        case Not(negated=negated):
            inner = compile_condition(negated)
            # What is not known to be met exactly excludes nobody.
            return (
                Compiled(Expression(f"not ({inner.expression})"), True)
                if inner.is_exact
                else Compiled(EVERYTHING, False)
            )
        case AllOf(all_of=parts):
            compiled = [compile_condition(part) for part in parts]
            return Compiled(both(*(each.expression for each in compiled)), all(each.is_exact for each in compiled))
        case AnyOf(any_of=parts):
            compiled = [compile_condition(part) for part in parts]
            is_exact = all(each.is_exact for each in compiled)
            if any(each.expression == EVERYTHING for each in compiled):
                return Compiled(EVERYTHING, is_exact)
            return Compiled(Expression(" or ".join(f"({each.expression})" for each in compiled)), is_exact)


def has_any(tokens: Sequence[str]) -> Expression:
    """The items that have one of these tokens."""
    if len(tokens) == 1:
        return Expression(f"array_contains(tokens, {quoted(tokens[0])})")
    return Expression(f"array_contains_any(tokens, [{', '.join(map(quoted, tokens))}])")


def both(*expressions: Expression) -> Expression:
    """The items that all of these select."""
    told = [each for each in expressions if each != EVERYTHING]
    return told[0] if len(told) == 1 else Expression(" and ".join(f"({each})" for each in told))


def has_label(labels: Iterable[int]) -> Expression:
    """The items of these labels."""
    return Expression(f"label in [{', '.join(map(str, labels))}]")


def has_id(ids: Iterable[str]) -> Expression:
    """The items of these ids."""
    return Expression(f"id in [{', '.join(map(quoted, ids))}]")


def is_after(item_id: str) -> Expression:
    """The items after an id, in the order of ids."""
    return Expression(f"id > {quoted(item_id)}") if item_id else EVERYTHING


def quoted(text: str) -> str:
    """A text as a literal. Milvus knows few escapes."""
    return f'"{text.translate(_ESCAPES)}"'
