"""Every command of docs/evaluation.md, run in a folder as a reader has it; datasets of some photos in the published layouts."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from askew_training.cli.cache import cache
from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.evaluation.evaluate_landmarks import evaluate_landmarks
from askew_training.cli.evaluation.evaluate_revisited import evaluate_revisited
from askew_training.evaluate.landmarks.solution import image_path
from tests.support.paths import ROOT
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import run_command
from tests.training.evaluate.revisited.truths import truth_of
from tests.training.photo_files import save_photo

PAGE = ROOT / "docs" / "evaluation.md"
COMMANDS: dict[str, Callable[..., Any]] = {
    "cache": cache,
    "evaluate": evaluate,
    "evaluate-revisited": evaluate_revisited,
    "evaluate-landmarks": evaluate_landmarks,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    make_encoder(tmp_path / "student.onnx", role="student", dim=16, noise=0.1, version="2")
    for dataset in ("roxford5k", "rparis6k"):
        truth = truth_of(4, [{"easy": [0], "hard": [1], "junk": [2], "bbx": [0, 0, 70, 60]}])
        for name in (*truth["imlist"], *truth["qimlist"]):
            save_photo(Path("datasets") / dataset / "jpg" / f"{name}.jpg", len(name), (80, 64))
        (Path("datasets") / dataset / f"gnd_{dataset}.pkl").write_bytes(pickle.dumps(truth))
    for part in ("datasets/revisitop1m/jpg", "part-07"):
        for number in range(3):
            save_photo(Path(part) / f"{number}.jpg", number, (80, 64))
    for photo in ("index/a/a/a/aaa1.jpg", "index/b/b/b/bbb1.jpg", "test/q/a/a/qaa1.jpg"):
        save_photo(Path("gldv2") / photo, 1, (80, 64))
    assert image_path(Path("gldv2/index"), "aaa1").is_file()
    Path("gldv2/index.csv").write_text("id\naaa1\nbbb1\n")
    Path("gldv2/retrieval_solution_v2.1.csv").write_text("id,images,Usage\nqaa1,aaa1,Public\n")
    for name in ("q", "g"):
        save_photo(Path("photos") / f"{name}.jpg", 1, (80, 64))
    Path("photos/manifest.csv").write_text(
        "path,instance_id,role,benchmark,set\nq.jpg,a,query,landmarks,walls\ng.jpg,a,gallery,landmarks,walls\n"
    )
    return tmp_path


def commands() -> list[list[str]]:
    lines = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    askew ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.slow
def test_every_command_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(commands()) >= 6
    for name, *arguments in commands():
        result = run_command(COMMANDS[name], *arguments)
        assert result.exit_code == 0, (name, arguments, result.output)
    assert len(list((folder / "results").glob("rparis6k.*.json"))) == 3
    text = PAGE.read_text()
    assert "askew cache teacher.onnx r1m-07 --photos part-07 --dtype f16" in text
    run_command(cache, "teacher.onnx", "r1m-07", "--photos", "part-07", "--dtype", "f16")
    (block,) = (part.partition("```")[0] for part in text.split("```python\n") if "read_measurement" in part)
    block = block.replace("roxford5k", "rparis6k")
    exec(compile(block, str(PAGE), "exec"), {})
    assert "symmetric teacher@1" in capsys.readouterr().out
