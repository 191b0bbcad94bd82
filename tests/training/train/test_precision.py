"""bf16 only on processors that are fast at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from askew_training.train.loop import Trainer
from askew_training.train.precision import NO_FAST_BF16, choose_precision, is_bf16_fast
from askew_training.train.recipe import read_recipe
from askew_training.train.run import Run, prepare
from tests.support.training_helpers import forget_precision
from tests.training.train.project import SYMMETRIC, have_equal_tensors, log_lines, tensors_of

BF16 = SYMMETRIC.replace("[run]", '[run]\nprecision = "bf16"')


@pytest.mark.parametrize(
    ("capability", "has_avx512_bf16", "is_fast"),
    [
        ("AVX512", True, True),
        ("SVE256", False, True),
        # Without the instructions, oneDNN converts every value to float32 first.
        ("AVX512", False, False),
        ("AVX2", False, False),
        ("NO AVX", False, False),
        ("DEFAULT", False, False),
    ],
)
def test_bf16_is_fast_only_with_instructions_for_it(capability: str, has_avx512_bf16: bool, is_fast: bool) -> None:
    assert is_bf16_fast(capability, has_avx512_bf16) == is_fast


def test_only_slow_bf16_on_a_cpu_is_replaced() -> None:
    assert choose_precision("bf16", "cpu", False) == "fp32"
    assert choose_precision("bf16", "cpu", True) == "bf16"
    assert choose_precision("bf16", "cuda", False) == "bf16"
    assert choose_precision("fp32", "cpu", True) == choose_precision("fp32", "cpu", False) == "fp32"


def prepare_run(folder: Path, recipe: str, has_fast_bf16: bool, sentences: list[str]) -> Run:
    (folder / "recipe.toml").write_text(recipe)
    return prepare(read_recipe(folder / "recipe.toml"), folder / "cache", sentences.append, has_fast_bf16)


def train(folder: Path, recipe: str, has_fast_bf16: bool, output: str, resume: bool = False) -> list[str]:
    """Run a recipe as on a processor with or without fast bf16. Returns the sentences that `prepare` said."""
    sentences: list[str] = []
    (folder / output).mkdir(exist_ok=True)
    Trainer(prepare_run(folder, recipe, has_fast_bf16, sentences), folder / output, resume).train()
    forget_precision()
    return sentences


def recorded_precision(path: Path) -> object:
    return torch.load(path, weights_only=True)["precision"]


@pytest.mark.slow
def test_a_bf16_recipe_computes_in_float32_without_fast_bf16_and_says_so(folder: Path) -> None:
    assert NO_FAST_BF16 in train(folder, BF16, False, "out")
    assert NO_FAST_BF16 not in train(folder, SYMMETRIC, False, "fp32")
    assert have_equal_tensors(folder / "out" / "last.pt", folder / "fp32" / "last.pt")
    for name in ("last.pt", "best.pt"):
        assert recorded_precision(folder / "out" / name) == "fp32"


@pytest.mark.slow
def test_a_bf16_recipe_computes_in_bf16_with_fast_bf16(folder: Path) -> None:
    assert NO_FAST_BF16 not in train(folder, BF16, True, "out")
    tensors = tensors_of(folder / "out" / "last.pt")
    assert all(each.dtype != torch.bfloat16 for each in tensors.values())
    assert all(np.isfinite(line["loss"]) for line in log_lines(folder / "out", "train"))
    for name in ("last.pt", "best.pt"):
        assert recorded_precision(folder / "out" / name) == "bf16"


@pytest.mark.slow
def test_a_run_that_continues_in_another_precision_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(folder, BF16, True, "out")
    rewind(folder / "out" / "last.pt")
    shutil.copytree(folder / "out", folder / "again")
    assert NO_FAST_BF16 in train(folder, BF16, False, "out", resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "This run was computed in bf16 so far and continues in fp32" in said
    assert recorded_precision(folder / "out" / "last.pt") == "fp32"
    train(folder, BF16, True, "again", resume=True)
    assert "continues in" not in " ".join(capsys.readouterr().err.split())


def rewind(path: Path) -> None:
    """Make a finished run one that was stopped before its last epoch."""
    content = torch.load(path, weights_only=True)
    content["training"]["progress"].update(epoch=1, batch=0)
    torch.save(content, path)
