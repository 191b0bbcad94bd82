"""`askew search-time`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.evaluation.search_time import search_time
from askew_training.errors import DataError
from askew_training.evaluate.measurement import paired, read_measurement
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import run_command, words


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("encoders")
    teacher = make_encoder(folder / "teacher.onnx", role="teacher", dim=16)
    student = make_encoder(folder / "student.onnx", role="student", dim=16, noise=1.0)
    return ("--queries", student, "--gallery", teacher, "--cache", folder / "cache")


@pytest.mark.slow
def test_methods_are_measured_beside_plain_search(
    project: Path, pair: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    benchmark = (*pair, "--manifest", project / "manifest.csv")
    chosen = ("--method", "alpha-qe:neighbours=1,alpha=1", "--method", "float16")
    out = ("--json", tmp_path / "out.json", "--measurements", tmp_path / "measurements")
    done = run_command(search_time, *benchmark, *chosen, *out)
    assert "asymmetric: queries student@1, gallery teacher@1" in done.stdout
    assert "walls" in done.stdout and "float16" in done.stdout and "north" not in done.stdout
    assert "north" in run_command(search_time, *benchmark, *chosen, "--by-set").stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert [(row["set_name"], row["method"], row["bytes_per_vector"]) for row in report["rows"]] == [
        (name, method, size)
        for name in ("together", "north")
        for method, size in (("plain", 64), ("alpha-qe:neighbours=1,alpha=1", 64), ("float16", 32))
    ]
    run_command(evaluate, *benchmark, "--json", tmp_path / "plain.json")
    scores = json.loads((tmp_path / "plain.json").read_text())["benchmarks"][0]["by_set"]["together"]
    assert report["rows"][0]["mean_average_precision"] == pytest.approx(scores["mean_average_precision"])
    files = [read_measurement(path) for path in (tmp_path / "measurements").iterdir()]
    named = {str(each.settings["method"]): each for each in files}
    assert set(named) == {"plain", "alpha-qe", "float16"} and len(files) == 3
    assert named["alpha-qe"].settings == {"method": "alpha-qe", "neighbours": 1, "alpha": 1}
    assert len(paired(named["alpha-qe"], named["plain"])[2]) == 4
    # Those of another pair are other files.
    run_command(search_time, *pair[2:4], "--queries", pair[3], *benchmark[4:], *chosen, *out)
    assert len(list((tmp_path / "measurements").iterdir())) == 6


@pytest.mark.slow
def test_settings_are_chosen_on_held_out_photos_and_what_does_not_fit_is_named(
    project: Path, pair: tuple[object, ...], tmp_path: Path
) -> None:
    options = (*pair, "--manifest", project / "manifest.csv", "--held-out", 0.9, "--json", tmp_path / "out.json")
    done = run_command(search_time, *options)
    # Too few photos for a rotation or a codebook, and 16 dimensions: left out, with the reason.
    report = json.loads((tmp_path / "out.json").read_text())
    for text in (done.stderr, str(report["left_out"])):
        assert "held-out, pq:bytes=32,learned_from=train" in text and "at most the 16 dimensions" in text
    run_command(search_time, *options, "--grid", "--method", "alpha-qe")
    methods = {row["method"] for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    assert {"alpha-qe:neighbours=1,alpha=0", "alpha-qe:neighbours=10,alpha=3"} <= methods
    with pytest.raises(DataError, match="256 centroids need at least as many"):
        run_command(search_time, *options, "--method", "pq:bytes=4")


def test_what_does_not_go_together_is_refused(project: Path, pair: tuple[object, ...], tmp_path: Path) -> None:
    manifest = ("--manifest", project / "manifest.csv")
    other = make_encoder(tmp_path / "other.onnx", role="teacher", dim=16, seed=5)
    with pytest.raises(DataError, match="Expected two encoders of one space"):
        run_command(search_time, *pair[:2], "--gallery", other, "--cache", tmp_path, *manifest)
    with pytest.raises(DataError, match="no search-time method 'magic'"):
        run_command(search_time, *pair, *manifest, "--method", "magic")
    lone = project / "lone.csv"
    lone.write_text("path,instance_id,role,benchmark,set\n2.png,a,query,walls,north\n3.png,b,gallery,walls,north\n")
    with pytest.raises(DataError, match=r"No query has a match in the gallery\. Expected gallery photos"):
        run_command(search_time, *pair[:4], "--cache", tmp_path / "none", "--manifest", lone)
    assert not [each for each in (tmp_path / "none").iterdir() if each.suffix == ".rows"]
    both = run_command(search_time, *pair, *manifest, "--held-out", 0.5, "--benchmark", "walls")
    assert both.exit_code == 2 and "expected --held-out or --benchmark, got both" in words(both.output)
