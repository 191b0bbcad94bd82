"""A gallery gets the smallest codes that find what its vectors find."""

from __future__ import annotations

import pytest

from askew_server.offline import choice
from askew_server.offline.choice import choose_codec
from askew_server.offline.codecs import Codec
from tests.server.offline.galleries import clustered

SAMPLE = clustered(60, 128)


class Measured:
    """A measurement that reaches the target from a size on. `asked`: the sizes that were measured."""

    def __init__(self, enough: int) -> None:
        self._enough = enough
        self.asked: list[int] = []

    def __call__(self, codec: Codec) -> float:
        self.asked.append(codec.described.bytes)
        return 0.95 if codec.described.bytes >= self._enough else 0.949


def chosen(items: int, measured: Measured, size: int | None = None) -> tuple[str, int]:
    codec = choose_codec(items, SAMPLE, size, measured)
    return codec.described.kind, codec.described.bytes


@pytest.mark.parametrize("enough", [4, 6, 8, 12, 16])
def test_the_smallest_size_that_reaches_the_target_is_found_with_few_trainings(
    enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "SIZES", (4, 6, 8, 12, 16))
    measured = Measured(enough)
    assert chosen(50_000, measured) == ("product", enough)
    assert len(measured.asked) <= 3


def test_where_none_reaches_the_target_the_largest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SIZES", (4, 6, 8, 300))
    assert chosen(50_000, Measured(200)) == ("product", 8)


def test_small_packs_have_int8_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    never = Measured(0)
    assert chosen(choice.INT8_BELOW - 1, never) == ("int8", 128)
    # 128 values in 96 bytes save less than the codebooks take.
    monkeypatch.setattr(choice, "SIZES", (96,))
    assert chosen(2_000, never) == ("int8", 128)
    monkeypatch.setattr(choice, "SIZES", (128, 256))
    assert chosen(1_000_000, never) == ("int8", 128)
    assert never.asked == []


@pytest.mark.slow
def test_the_administrators_size_is_kept_but_for_one_byte_a_value() -> None:
    never = Measured(0)
    assert chosen(60, never, 64) == ("product", 64)
    assert chosen(60, never, 512) == ("product", 128)
    assert choose_codec(0, SAMPLE[:0], 64, never).described.kind == "int8"
    assert never.asked == []
