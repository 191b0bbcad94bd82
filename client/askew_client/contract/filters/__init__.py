"""Conditions on payloads: their form, the paths of fields, and instants to compare."""

from askew_client.contract.filters.conditions import (
    MAX_DEPTH,
    MAX_VALUES,
    AllOf,
    AnyOf,
    Equals,
    Exists,
    Filter,
    Not,
    Number,
    OneOf,
    Range,
    Scalar,
)
from askew_client.contract.filters.field_paths import FieldPath

# The names that version 0.1 had here.
__all__ = [
    "MAX_DEPTH",
    "MAX_VALUES",
    "AllOf",
    "AnyOf",
    "Equals",
    "Exists",
    "FieldPath",
    "Filter",
    "Not",
    "Number",
    "OneOf",
    "Range",
    "Scalar",
]
