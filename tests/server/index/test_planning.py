"""The kind of index follows the gallery's size, or its name; what would not fit is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_client.contract.indexes import IndexKind, WantedKind
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
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
        ("gpu-exact", 1_000, 2_048, "two-stage", "gpu-exact"),
        ("gpu-exact", 999, 2_048, "exact", "exact"),
        ("gpu-exact", 10**6, 67, "exact", "exact"),
    ],
)
def test_the_kind_follows_size_and_name(
    wanted: WantedKind, count: int, dim: int, current: IndexKind, expected: IndexKind
) -> None:
    assert chosen_kind(wanted, count, dim, current) == expected


@pytest.mark.parametrize("kind", ["two-stage", "ivf-two-stage"])
def test_two_stages_take_a_third_of_float32_or_less(kind: IndexKind) -> None:
    takes = estimate(kind, 10**6, 2_048)
    assert takes.bytes_memory + takes.bytes_mapped < 10**6 * 2_048 * 4 / 3
    assert takes.build_bytes_disk >= takes.bytes_mapped
    assert takes.build_bytes_memory < 10**6 * 2_048


def test_what_does_not_fit_is_refused_with_both_figures(tmp_path: Path) -> None:
    small, large, wide = (estimate("two-stage", *size) for size in ((20_000, 256), (10**9, 64), (20_000, 2_048)))
    refuse_too_large("two-stage", small, tmp_path / "not" / "there", lambda: 10**13)
    with pytest.raises(Refusal, match=r"needs about .* of disk, and only .* are free") as refused:
        refuse_too_large("two-stage", large, tmp_path, lambda: 10**13)
    assert refused.value.kind == ProblemKind.WOULD_NOT_FIT
    assert refused.value.extras["what"] == "disk"
    with pytest.raises(Refusal, match=r"needs about .* of memory, and only 105 MB are free. Free some memory"):
        refuse_too_large("two-stage", wide, tmp_path, lambda: 100 << 20)


def test_the_free_memory_of_a_container_is_its_limit_minus_its_use(tmp_path: Path) -> None:
    assert free_memory(tmp_path) > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 300000\n")
    assert free_memory(tmp_path) == 400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 1_000_000
