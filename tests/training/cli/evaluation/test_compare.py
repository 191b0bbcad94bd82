"""`askew compare`, with encoders of the tests and photos of the demo."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from askew_client import Encoder
from askew_training.cli.evaluation.compare import compare
from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.errors import DataError
from askew_training.evaluate.comparison.record import Comparison, read_comparison
from askew_training.evaluate.measurement import read_measurement
from tests.docs.shell_blocks import shell_blocks
from tests.support.paths import DEMO, ROOT
from tests.support.small_encoders import FEATURES, make_encoder
from tests.support.training_helpers import MANIFEST_HEADER, run_command
from tests.training.photo_files import save_photo

INSTANCES = ["colosseum", "taj-mahal", "eiffel-tower", "chichen-itza", "charminar", "bayterek"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of the demo, each with a darker, smaller copy as its query; a teacher, two students, and a stranger."""
    from PIL import Image, ImageEnhance

    here = tmp_path_factory.mktemp("compared")
    rows = []
    for number, name in enumerate(INSTANCES):
        with Image.open(DEMO / f"gallery/{name}.jpg") as photo:
            photo.thumbnail((200, 200))
            photo.save(here / f"{name}.png")
            ImageEnhance.Brightness(photo.resize((120, 90))).enhance(0.8).save(here / f"{name}-query.png")
        rows += [
            f"{name}.png,{name},gallery,walks,",
            f"{name}-query.png,{name},query,walks,{'day' if number % 2 else 'night'}",
        ]
    for number in range(6):
        save_photo(here / f"{number}.png", number, (64, 50))
        rows.append(f"{number}.png,,gallery,walks,")
    (here / "manifest.csv").write_text(MANIFEST_HEADER + "\n".join(rows) + "\n")
    make_encoder(here / "teacher.onnx", role="teacher", photo_size=128)
    make_encoder(here / "near.onnx", role="student", noise=0.1, name="near", photo_size=96)
    make_encoder(here / "far.onnx", role="student", noise=3, name="far", photo_size=96)
    make_encoder(here / "stranger.onnx", role="teacher", seed=7, name="stranger")
    return here


@pytest.fixture
def arguments(folder: Path, tmp_path: Path):
    """Options for the teacher's gallery, and where the comparison goes."""
    return (
        "--gallery", folder / "teacher.onnx", "--manifest", folder / "manifest.csv", "--cache", tmp_path / "cache",
        "--json", tmp_path / "c.json", "--resamples", 500,
    )  # fmt: skip


def queries(folder: Path, *names: str) -> list[object]:
    return [each for name in names for each in ("--queries", folder / f"{name}.onnx")]


@pytest.mark.slow
def test_quality_and_cost_of_every_pair_in_one_matrix(folder: Path, arguments, tmp_path: Path) -> None:
    result = run_command(compare, *queries(folder, "teacher", "near", "far"), *arguments, "--time-rounds", 2)
    assert result.exit_code == 0
    comparison = read_comparison(tmp_path / "c.json")
    assert [row.label for row in comparison.rows] == [
        "teacher@1 → teacher@1",
        "near@1 → teacher@1",
        "far@1 → teacher@1",
    ]
    assert [(each.set_name, each.queries, each.gallery_photos) for each in comparison.columns] == [
        ("together", 6, 12),
        ("night", 3, 12),
        ("day", 3, 12),
    ]
    assert len(comparison.cells) == 9
    cost = comparison.cost(1)
    assert (cost.query_bytes, cost.photo_side, cost.paper_gigaflops) == (128, 96, None)
    assert cost.gigaflops == pytest.approx(2 * FEATURES * 64 / 1e9)
    assert cost.file_bytes == (folder / "near.onnx").stat().st_size
    assert cost.milliseconds is not None and cost.milliseconds > 0
    assert comparison.machine
    near, far = comparison.alignments
    assert near.mean_cosine > 0.95 > far.mean_cosine
    assert near.order_flips is not None and far.order_flips is not None
    assert near.order_flips < far.order_flips < 0.5
    assert [each.row for each in comparison.distributions] == [0, 1, 2]
    assert sum(comparison.distributions[0].matches) == 6
    assert sum(comparison.distributions[0].non_matches) == 6 * 11
    assert "near@1 → teacher@1" in result.stdout
    assert "GFLOPs" in result.stdout
    assert "6 queries, 6 shown" in result.stdout


@pytest.mark.slow
def test_it_measures_what_askew_evaluate_measures(folder: Path, arguments, tmp_path: Path) -> None:
    run_command(
        compare, *queries(folder, "far"), *arguments, "--time-rounds", 0, "--write-measurements", tmp_path / "ms"
    )
    pair = ("--queries", folder / "far.onnx", "--gallery", folder / "teacher.onnx")
    manifest = ("--manifest", folder / "manifest.csv", "--cache", tmp_path / "cache")
    run_command(evaluate, *pair, *manifest, "--measurements", tmp_path / "evaluated.json")
    (written,) = (tmp_path / "ms").glob("*.json")
    assert read_measurement(written) == read_measurement(tmp_path / "evaluated.json")


@pytest.mark.slow
def test_measurements_of_earlier_evaluations_are_compared_without_a_photo(
    folder: Path, arguments, tmp_path: Path
) -> None:
    names = ("teacher", "far")
    run_command(
        compare, *queries(folder, *names), *arguments, "--no-operations", "--write-measurements", tmp_path / "ms"
    )
    made = read_comparison(tmp_path / "c.json")
    result = run_command(
        compare, "--measurements", tmp_path / "ms", "--baseline", "teacher@1", "--resamples", 500,
        "--json", tmp_path / "again.json", *queries(folder, "far"), "--time-rounds", 0, "--no-operations",
    )  # fmt: skip
    again = read_comparison(tmp_path / "again.json")
    assert values(again) == values(made)
    assert by_label(again) == by_label(made)
    assert not again.alignments
    assert not again.distributions
    # The file was given, so its bytes are known.
    far = next(row for row in again.rows if row.label.startswith("far"))
    assert again.encoders[far.queries].cost.file_bytes == (folder / "far.onnx").stat().st_size
    assert "compared with teacher@1 → teacher@1" in result.stdout


@pytest.mark.slow
def test_encoders_of_another_space_are_skipped_with_a_reason_or_measured_and_marked(
    folder: Path, arguments, tmp_path: Path
) -> None:
    options = (*queries(folder, "near", "stranger"), *arguments, "--time-rounds", 0, "--no-operations")
    result = run_command(compare, *options)
    assert result.exit_code == 0
    assert "not compared: stranger@1 → teacher@1: the spaces differ" in result.stderr
    comparison = read_comparison(tmp_path / "c.json")
    assert [each.queries for each in comparison.skipped] == ["stranger@1"]
    assert len(comparison.rows) == 1
    assert "[foreign space]" in run_command(compare, *options, "--allow-foreign-space").stdout
    marked = read_comparison(tmp_path / "c.json")
    assert marked.rows[1].settings == {"foreign_space": True}
    assert abs(marked.alignments[1].mean_cosine) < 0.5
    with pytest.raises(DataError, match="--allow-foreign-space"):
        run_command(compare, *queries(folder, "stranger"), *arguments)


@pytest.mark.slow
def test_photos_that_cannot_be_read_and_queries_without_a_match_are_named(folder: Path, tmp_path: Path) -> None:
    here = tmp_path / "damaged"
    shutil.copytree(folder, here)
    (here / "colosseum-query.png").write_bytes(b"no photo")
    with (here / "manifest.csv").open("a") as manifest:
        manifest.write("0.png,nobody,query,walks,night\n")
    result = run_command(
        compare, *queries(here, "teacher", "near"), "--gallery", here / "teacher.onnx", "--manifest",
        here / "manifest.csv", "--cache", tmp_path / "cache", "--time-rounds", 0, "--json", tmp_path / "c.json",
    )  # fmt: skip
    assert result.exit_code == 3
    assert "colosseum-query.png" in result.stderr
    assert "queries that show what no other photo of their gallery does" in result.stderr
    comparison = read_comparison(tmp_path / "c.json")
    # The one that cannot be read counts as one that found nothing; the other is left out.
    assert comparison.columns[0].queries == 6


def test_what_is_missing_is_said_before_anything_is_described(folder: Path, tmp_path: Path) -> None:
    for options, expected in (
        ((), "nothing to compare"),
        (("--manifest", folder / "manifest.csv"), "give --queries and --gallery"),
        (("--measurements", tmp_path, "--benchmark", "walks"), "give --manifest"),
        (("--measurements", tmp_path, "--confidence", 95), "between 0 and 1"),
        (("--measurements", tmp_path, "--embed"), "give --report"),
        (("--measurements", tmp_path, "--photos", tmp_path), "give --report"),
    ):
        result = run_command(compare, *options)
        assert result.exit_code == 2
        assert expected in " ".join(result.output.replace("│", " ").split())
    with pytest.raises(DataError, match="is a folder"):
        run_command(compare, "--measurements", tmp_path, "--json", tmp_path)
    with pytest.raises(DataError, match="holds none"):
        run_command(compare, "--measurements", tmp_path)
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(DataError, match="is not a measurement"):
        run_command(compare, "--measurements", tmp_path)


def test_an_unknown_benchmark_is_refused_with_those_that_there_are(folder: Path, arguments) -> None:
    with pytest.raises(DataError, match="The manifests have these benchmarks: walks"):
        run_command(compare, *queries(folder, "teacher"), *arguments, "--benchmark", "runs")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--baseline", "teacher"), "Expected a baseline among the compared pairs, got 'teacher'"),
        (("--json", "{tmp}/file/c.json"), "cannot be written to"),
        (("--report", "{tmp}/file/page.html"), "cannot be written to"),
        (("--report", "{tmp}/page.html"), "page.html.photos, but it is a file"),
        (("--report", "{tmp}"), "is a folder"),
        (("--report", "{tmp}/p.html", "--photos", "{tmp}/file"), "not a folder"),
        (("--manifest", "{tmp}/strange.csv"), "Benchmark 'strange': No query has a match in the gallery"),
    ],
)
def test_what_would_fail_after_describing_fails_before_it(
    more: tuple[str, ...], expected: str, folder: Path, arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "page.html.photos").write_text("")
    strange = f"{folder}/0.png,a,query,strange,\n{folder}/1.png,b,gallery,strange,\n"
    (tmp_path / "strange.csv").write_text(MANIFEST_HEADER + strange)
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described"))
    options = [each.format(tmp=tmp_path) for each in more]
    with pytest.raises(DataError, match=expected):
        run_command(compare, *queries(folder, "teacher"), *arguments, *options)


def test_a_baseline_may_be_named_by_what_tells_its_row_from_others(folder: Path, arguments, tmp_path: Path) -> None:
    options = (*queries(folder, "near", "stranger"), *arguments, "--time-rounds", 0, "--no-operations")
    baseline = "stranger@1 → teacher@1 [foreign space]"
    assert run_command(compare, *options, "--allow-foreign-space", "--baseline", baseline).exit_code == 0
    comparison = read_comparison(tmp_path / "c.json")
    assert {comparison.rows[each.baseline].label for each in comparison.differences} == {baseline}


def values(comparison: Comparison) -> dict[tuple[str, str], float]:
    return {
        (comparison.rows[each.row].label, comparison.columns[each.column].set_name): each.value
        for each in comparison.cells
    }


def by_label(comparison: Comparison) -> dict[tuple[str, str], tuple[float, str]]:
    return {
        (comparison.rows[each.row].label, comparison.columns[each.column].set_name): (each.difference, each.verdict)
        for each in comparison.differences
    }


@pytest.mark.slow
def test_the_page_about_comparing_can_be_followed(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    page = ROOT / "docs/comparing.md"
    (tmp_path / "photos").symlink_to(folder)
    for name, source in (("teacher", "teacher"), ("smaller", "far")):
        shutil.copy(folder / f"{source}.onnx", tmp_path / f"{name}.onnx")
    make_encoder(tmp_path / "student.onnx", role="student", noise=0.2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    commands = [line for block in shell_blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 3
    for command in commands:
        program, name, *options = shlex.split(command)
        assert (program, name) == ("askew", "compare")
        assert run_command(compare, *options, "--time-rounds", 1).exit_code == 0
    (example,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(example, page.name, "exec"), {})
    printed = capsys.readouterr().out
    assert "student@1 → teacher@1 and teacher@1 → teacher@1 differ by" in printed
    assert printed.splitlines()[-1] in {"better", "worse", "inside the noise"}
