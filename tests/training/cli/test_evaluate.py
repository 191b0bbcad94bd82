"""`askew export` and `askew evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from askew_client import Encoder
from askew_training.cli.evaluate import evaluate
from askew_training.cli.export import export
from askew_training.cli.whiten import whiten
from askew_training.errors import DataError
from tests.support.small_encoders import make_encoder
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import run_command

COMMON = ("--name", "tiny", "--licence", "CC0")


@pytest.mark.slow
def test_from_weights_to_a_measured_pair(project: Path, photos: tuple[object, ...], tmp_path: Path) -> None:
    start = ("--trunk", TINY_TRUNK, "--weights", project / "weights.pth")
    whitened = run_command(whiten, tmp_path / "teacher.pt", *start, *photos, "--photo-size", 128, "--dim", 4)
    assert whitened.exit_code == 3
    assert "8 photos" in whitened.stdout
    assert "broken.png" in whitened.output
    assert "8 photos taken, 1 skipped" in whitened.output
    teacher, student = tmp_path / "teacher.onnx", tmp_path / "student.onnx"
    run_command(export, tmp_path / "teacher.pt", teacher, "--role", "teacher", "--version", 1, *COMMON)
    benchmark = ("--manifest", project / "manifest.csv", "--cache", project / "cache")
    report = tmp_path / "symmetric.json"
    run_command(evaluate, "--queries", teacher, "--gallery", teacher, *benchmark, "--json", report)
    scores = json.loads(report.read_text())["benchmarks"][0]["by_set"]
    assert scores["together"]["mean_average_precision"] == pytest.approx(1.0)
    run_command(
        export, tmp_path / "teacher.pt", student, "--role", "student", "--version", 2, "--photo-size", 96,
        "--scales", 3, "--metrics", report, *COMMON,
    )  # fmt: skip
    manifest = Encoder(student).manifest
    assert manifest.space_id == Encoder(teacher).space_id
    assert (manifest.photo_size, len(manifest.scales), manifest.precision) == (96, 3, "fp32")
    assert manifest.metrics["symmetric.walls.together.mAP"] == 1.0
    assert manifest.data == [{"name": "north", "licence": "CC0", "photos": 8}]
    assert "asymmetric" in run_command(evaluate, "--queries", student, "--gallery", teacher, *benchmark).stdout


def test_encoders_of_two_spaces_are_not_compared(project: Path, tmp_path: Path) -> None:
    one, other = (make_encoder(tmp_path / f"{seed}.onnx", role="teacher", seed=seed) for seed in (1, 2))
    benchmark = ("--manifest", project / "manifest.csv", "--cache", tmp_path / "cache")
    with pytest.raises(DataError, match="two encoders of one space"):
        run_command(evaluate, "--queries", one, "--gallery", other, *benchmark)
