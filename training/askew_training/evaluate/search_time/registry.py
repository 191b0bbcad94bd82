"""The methods by name, and their settings as text."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

from pydantic import ValidationError

from askew_training.errors import DataError
from askew_training.evaluate.search_time.augmentation import AlphaAugmentation, AugmentationAndExpansion
from askew_training.evaluate.search_time.diffusion import Diffusion
from askew_training.evaluate.search_time.expansion import AlphaQueryExpansion
from askew_training.evaluate.search_time.method import Method
from askew_training.evaluate.search_time.plain import Plain
from askew_training.evaluate.search_time.quantisation import HalfPrecision, ProductQuantisation, ScalarQuantisation
from askew_training.evaluate.search_time.reciprocal import KReciprocal
from askew_training.evaluate.search_time.truncation import Truncation

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Plain,
            AlphaQueryExpansion,
            AlphaAugmentation,
            AugmentationAndExpansion,
            KReciprocal,
            Diffusion,
            Truncation,
            HalfPrecision,
            ScalarQuantisation,
            ProductQuantisation,
        )
    }
)


def default_methods() -> list[Method]:
    """Every method with its published settings, the compressing ones at several sizes."""
    chosen: list[Method] = []
    for kind in METHODS.values():
        if kind is Truncation:
            chosen += [
                Truncation(dim=dim, rotation=rotation) for rotation in ("none", "pca") for dim in (1024, 512, 256, 128)
            ]
        elif kind is ProductQuantisation:
            chosen += [ProductQuantisation(bytes=count) for count in (256, 128, 64, 32)]
        else:
            chosen.append(kind())
    return chosen


def parse_method(text: str) -> Method:
    """Read `NAME` or `NAME:setting=value,setting=value`, such as `alpha-qe:neighbours=3,alpha=1`. Raises DataError."""
    name, _, rest = text.partition(":")
    kind = METHODS.get(name)
    if kind is None:
        raise DataError(f"There is no search-time method {name!r}. Known: {', '.join(METHODS)}.")
    given: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise DataError(f"Expected a setting such as neighbours=3 after {name}:, got {part!r}.")
        if key.strip() in given:
            raise DataError(f"{text!r} names {key.strip()} twice. Expected each setting of {name} once.")
        given[key.strip()] = value.strip()
    try:
        return kind.model_validate_strings(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        known = ", ".join(kind.model_fields) or "none"
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{text!r} does not fit {name}: {first['msg']}, at {where}. Its settings: {known}.") from None


def grid_of(kind: type[Method]) -> list[Method]:
    """Every combination of the values that a method's grid names; the method with its defaults if it has none."""
    return [kind.model_validate(dict(zip(kind.grid, values, strict=True))) for values in product(*kind.grid.values())]
