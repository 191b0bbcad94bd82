"""The kind of index follows the gallery's size, or its name; what would not fit is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_client.contract.indexes import IndexKind, WantedKind
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.index import planning as choice
from askew_server.index.planning import EXACT_UP_TO, chosen_kind, estimate, free_memory, refuse_too_large


@pytest.mark.parametrize(
    ("wanted", "count", "dim", "current", "expected"),
    [
        ("auto", EXACT_UP_TO, 2_048, "exact", "exact"),
        ("auto", EXACT_UP_TO + 1, 2_048, "exact", "two-stage"),
        ("auto", EXACT_UP_TO, 2_048, "two-stage", "two-stage"),
        ("auto", EXACT_UP_TO // 2, 2_048, "two-stage", "exact"),
        ("auto", 10**6, 2_048, "ivf-two-stage", "two-stage"),
        ("auto", 10**6, 67, "exact", "exact"),
        ("exact", 10**6, 2_048, "two-stage", "exact"),
        ("two-stage", 1_000, 2_048, "exact", "two-stage"),
        ("two-stage", 999, 2_048, "exact", "exact"),
        ("ivf-two-stage", 5_000, 2_048, "exact", "ivf-two-stage"),
        ("gpu-exact", 10, 2_048, "exact", "gpu-exact"),
    ],
)
def test_the_kind_follows_size_and_name(
    wanted: WantedKind, count: int, dim: int, current: IndexKind, expected: IndexKind
) -> None:
    assert chosen_kind(wanted, count, dim, current) == expected


def test_two_stages_take_a_third_of_float32_or_less() -> None:
    for kind in ("two-stage", "ivf-two-stage"):
        taken = estimate(kind, 10**6, 2_048)
        assert taken.bytes_memory + taken.bytes_mapped < 10**6 * 2_048 * 4 / 3
        assert taken.build_bytes_disk >= taken.bytes_mapped
        assert taken.build_bytes_memory < 10**6 * 2_048


def test_what_does_not_fit_is_refused_with_both_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "free_memory", lambda: 10**13)
    refuse_too_large(estimate("two-stage", 20_000, 256), tmp_path / "not" / "there")
    with pytest.raises(Refusal, match=r"needs about .* of disk, and .* free") as refused:
        refuse_too_large(estimate("two-stage", 10**9, 64), tmp_path)
    assert refused.value.kind == ProblemKind.WOULD_NOT_FIT
    monkeypatch.setattr(choice, "free_memory", lambda: 100 << 20)
    with pytest.raises(Refusal, match=r"needs about .* of memory, and 105 MB are free"):
        refuse_too_large(estimate("two-stage", 20_000, 2_048), tmp_path)


def test_a_container_counts_as_what_it_may_take(tmp_path: Path) -> None:
    assert free_memory(tmp_path) > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 300000\n")
    assert free_memory(tmp_path) == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 1_000_000
