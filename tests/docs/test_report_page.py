"""Every command of docs/report.md, run on photos of the demo as a reader has them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.evaluation.report import report
from tests.support.paths import DEMO, ROOT
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import MANIFEST_HEADER, run_command

PAGE = ROOT / "docs" / "report.md"
COMMANDS: dict[str, Callable[..., Any]] = {"evaluate": evaluate, "report": report}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make_encoder(tmp_path / "teacher.onnx", role="teacher")
    make_encoder(tmp_path / "student.onnx", role="student", noise=0.5, version="2")
    (tmp_path / "photos").mkdir()
    lines = []
    for query in sorted((DEMO / "queries").glob("*.jpg")):
        (tmp_path / "photos" / f"query-{query.name}").symlink_to(query)
        (tmp_path / "photos" / query.name).symlink_to(DEMO / "gallery" / query.name)
        lines += [f"query-{query.name},{query.stem},query,demo,", f"{query.name},{query.stem},gallery,demo,"]
    (tmp_path / "photos" / "manifest.csv").write_text(MANIFEST_HEADER + "\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.slow
def test_every_command_runs_and_its_page_shows_every_photo(folder: Path) -> None:
    lines = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    askew ")]
    assert len(lines) == 4
    for line in lines:
        _, name, *arguments = shlex.split(line)
        result = run_command(COMMANDS[name], *arguments)
        assert result.exit_code == 0, (line, result.output)
        if "--report" in arguments:
            page = Path("report.html").read_text()
            assert 'class="missing"' not in page and "query-taj-mahal.jpg" in page
            Path("report.html").unlink()
    assert "student@2 → teacher@1" in page


def test_every_option_of_the_table_is_one_of_the_command() -> None:
    named = set(re.findall(r"`(--[a-z]+)", PAGE.read_text()))
    assert {
        "--comparison",
        "--photos",
        "--embed",
        "--query",
        "--cases",
        "--latex",
        "--markdown",
        "--published",
    } <= named
    described = run_command(report, "--help").output
    assert all(option in described for option in named)
