"""`askew export` and `askew evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from askew_client import Encoder
from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.export import export
from askew_training.cli.whiten import whiten
from askew_training.errors import DataError
from askew_training.evaluate.measurement import read_measurement
from askew_training.evaluate.report import manifest_metrics
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


def test_measurements_are_written_query_by_query(project: Path, tmp_path: Path) -> None:
    one, other = (make_encoder(tmp_path / f"{seed}.onnx", role="teacher", seed=seed, dim=16) for seed in (1, 2))
    common = ("--manifest", project / "manifest.csv", "--cache", tmp_path / "cache")
    run_command(evaluate, "--queries", one, "--gallery", one, *common, "--measurements", tmp_path / "m.json")
    measured = read_measurement(tmp_path / "m.json")
    assert (measured.dataset, measured.protocol, measured.kind) == ("walls", "instances", "symmetric")
    assert measured.mean_average_precision == pytest.approx(1)
    assert [(each.id, each.instance) for each in measured.results] == [(f"{4 * i + 2}.png", f"{i}") for i in range(4)]
    foreign = ("--queries", one, "--gallery", other, *common, "--allow-foreign-space")
    result = run_command(evaluate, *foreign, "--measurements", tmp_path / "many", "--json", tmp_path / "r.json")
    assert "TWO SPACES" in " ".join(result.stdout.split())
    (file,) = (tmp_path / "many").iterdir()
    assert read_measurement(file).settings["foreign_space"] is True
    with pytest.raises(DataError, match="compares two spaces"):
        manifest_metrics([tmp_path / "r.json"])


def test_a_box_of_a_query_is_searched_for(project: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "1.onnx", role="teacher", dim=16)
    lines = ["path,instance_ids,role,benchmark,set,bbox", f"{project}/2.png,0,query,walls,north,0 0 40 40"]
    lines += [f"{project}/6.png,1,query,walls,north,0 0 400 40"]
    lines += [
        "cut.png,0,gallery,walls,north,",
        f"{project}/3.png,5,gallery,walls,north,",
        f"{project}/7.png,1,gallery,walls,north,",
    ]
    with Image.open(project / "2.png") as image:
        image.crop((0, 0, 40, 40)).save(tmp_path / "cut.png")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    common = ("--queries", encoder, "--gallery", encoder, "--cache", tmp_path / "cache")
    result = run_command(evaluate, *common, "--manifest", tmp_path / "m.csv", "--measurements", tmp_path / "m.json")
    assert result.exit_code == 3
    assert "its box reaches from (0, 0) to (400, 40)" in " ".join(result.output.split())
    measured = read_measurement(tmp_path / "m.json")
    # 3.png has the same bytes as the whole query.
    assert measured.results[0].first[0].id == "cut.png"
    assert measured.results[0].first[0].score == pytest.approx(1)
    assert measured.results[0].average_precision == 1
    assert measured.results[1].average_precision == 0
    reason = "queries that cannot be described, counted as finding nothing"
    assert measured.excluded == {reason: (f"{project}/6.png",)}
