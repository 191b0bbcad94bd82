"""`askew report`: from measurements of the demo's photos to a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_training.cli.evaluation.report import report
from askew_training.errors import DataError
from tests.support.demo_measurements import measure_demo
from tests.support.paths import DEMO
from tests.support.training_helpers import run_command


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path, student_file: Path) -> tuple[Path, Path]:
    """Measurements of the teacher alone, and of the student with it."""
    folder = tmp_path_factory.mktemp("measured")
    paths = folder / "teacher.json", folder / "student.json"
    for path, queries in zip(paths, (teacher_file, student_file), strict=True):
        measure_demo(queries, teacher_file, photos=12).write(path)
    return paths


@pytest.mark.slow
def test_a_page_of_the_demo_with_its_pictures(measured: tuple[Path, Path], tmp_path: Path) -> None:
    page, latex, markdown = (tmp_path / name for name in ("page.html", "table.tex", "table.md"))
    done = run_command(
        report, *measured, "--report", page, "--latex", latex, "--markdown", markdown, "--photos", DEMO,
        "--query", "queries/taj-mahal.jpg", "--title", "Demo & more",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "<h1>Demo &amp; more</h1>" in text
    assert "2 pairs of encoders on 1 dataset (demo), 5 queries." in text
    pictures = list((tmp_path / "page.html.photos").iterdir())
    assert f"{page} with {len(pictures)} pictures" in done.stdout.replace("\n", "")
    # Each is on the page, and none is missing.
    assert all(picture.name in text for picture in pictures) and 'class="missing"' not in text
    assert "student@1 → teacher@1" in text and "asymmetric" in text
    assert r"\begin{tabular}" in latex.read_text() and "| ---: |" in markdown.read_text()
    # One file that needs no folder.
    alone = tmp_path / "alone.html"
    assert run_command(report, *measured, "--report", alone, "--photos", DEMO, "--embed").exit_code == 0
    assert "data:image/jpeg;base64," in alone.read_text() and not (tmp_path / "alone.html.photos").exists()


def test_what_cannot_be_reported_is_said_and_nothing_is_written(measured: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    refused = (
        ((*measured,), "nothing to write. Give --report"),
        ((*measured, "--report", page, "--photos", tmp_path / "none"), "Expected a folder of photos"),
        ((*measured, "--report", page, "--query", "queries/taj-mahal"), "such as queries/taj-mahal.jpg"),
        ((*measured, "--report", page, "--published", "everything"), "no published figures 'everything'"),
        ((tmp_path / "none.json", "--report", page), "Expected a measurement"),
        ((*measured, "--report", page, "--comparison", measured[0]), "is not a comparison"),
    )
    for arguments, sentence in refused:
        with pytest.raises(DataError, match=sentence):
            run_command(report, *arguments)
    assert list(tmp_path.iterdir()) == []
