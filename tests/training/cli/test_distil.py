"""`askew distil`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from askew_training.cli.distil import distil
from askew_training.networks.checkpoint import load_checkpoint
from tests.support.training_helpers import run_command


@pytest.mark.slow
def test_a_distilled_student_stays_in_its_teachers_space(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    result = run_command(distil, whitened, tmp_path / "student.pt", "--learn-size", 96, *photos)
    assert "8 photos" in result.stdout
    teacher, student = load_checkpoint(whitened), load_checkpoint(tmp_path / "student.pt")
    assert student.space_id == teacher.space_id
    assert student.description.scales == (1.0,)
    assert student.description.photo_size == 224
    assert student.network.linear is not None and teacher.network.linear is not None
    assert not torch.equal(student.network.linear.weight, teacher.network.linear.weight)
