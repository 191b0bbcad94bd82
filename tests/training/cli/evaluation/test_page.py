"""The page that `--report` writes: each photo is the one that its manifest means."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from askew_client import Encoder
from askew_training.cli.evaluation.compare import compare
from askew_training.cli.evaluation.evaluate import evaluate
from askew_training.cli.evaluation.search_time import search_time
from askew_training.errors import DataError
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import MANIFEST_HEADER, run_command

COLOURS = {"red": (200, 0, 0), "blue": (0, 0, 200)}
LINES = "q.png,a,query,{name},\ng.png,a,gallery,{name},\n../loose/x.png,b,gallery,{name},\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two manifests with the same ids for photos of two colours, and one photo outside their folders."""
    make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    for name, colour in (*COLOURS.items(), ("loose", (0, 200, 0))):
        (tmp_path / name).mkdir()
        for photo in ("q.png", "g.png", "x.png"):
            Image.new("RGB", (64, 50), colour).save(tmp_path / name / photo)
        (tmp_path / name / "manifest.csv").write_text(MANIFEST_HEADER + LINES.format(name=name))
    return tmp_path


def sides(folder: Path) -> tuple[object, ...]:
    encoder = folder / "teacher.onnx"
    return ("--queries", encoder, "--gallery", encoder, "--cache", folder / "cache")


def colours_of(page: Path) -> list[set[str]]:
    """For each strip's case of a page, the colours of the photos that were found right, by their thumbnails."""
    shown = []
    for case in re.findall(r"<article.*?</article>", page.read_text(), re.DOTALL):
        found = set()
        for name in re.findall(r'src="page.html.photos/(\w+\.jpg)"', case):
            pixel = Image.open(page.with_name("page.html.photos") / name).convert("RGB").getpixel((20, 20))
            assert isinstance(pixel, tuple)
            found.add(("red", "green", "blue")[max(range(3), key=lambda channel: pixel[channel])])
        shown.append(found)
    return shown


def test_two_manifests_with_the_same_ids_show_their_own_photos(folder: Path) -> None:
    manifests = [each for name in COLOURS for each in ("--manifest", folder / name / "manifest.csv")]
    page = folder / "page.html"
    result = run_command(compare, *sides(folder), *manifests, "--time-rounds", 0, "--report", page)
    assert result.exit_code == 0
    assert colours_of(page) == [{"red", "green"}, {"blue", "green"}]
    assert 'class="missing"' not in page.read_text()


def test_an_evaluation_writes_its_page(folder: Path) -> None:
    page = folder / "page.html"
    arguments = (*sides(folder), "--manifest", folder / "red" / "manifest.csv", "--report", page)
    assert "wrote" in run_command(evaluate, *arguments).stderr
    assert colours_of(page) == [{"red", "green"}]
    assert run_command(evaluate, *arguments, "--embed").exit_code == 0
    assert "data:image/jpeg;base64," in page.read_text() and not (folder / "page.html.photos").exists()


def test_the_second_box_of_a_photo_shows_the_photo(folder: Path) -> None:
    header = MANIFEST_HEADER.strip() + ",bbox\n"
    boxes = [
        "q.png,a,query,red,,0 0 30 30",
        "q.png,c,query,red,,20 20 60 50",
        "g.png,a,gallery,red,,",
        "x.png,c,gallery,red,,",
    ]
    (folder / "red" / "manifest.csv").write_text(header + "\n".join(boxes) + "\n")
    page = folder / "page.html"
    run_command(evaluate, *sides(folder), "--manifest", folder / "red" / "manifest.csv", "--report", page)
    text = page.read_text()
    assert "q.png#2" in text and 'class="missing"' not in text


@pytest.mark.parametrize("command", [evaluate, compare, search_time])
def test_names_in_a_manifest_are_printed_as_they_are(command: Callable[..., object], folder: Path) -> None:
    lines = "q.png,a,query,w[/bold],[red]n\ng.png,a,gallery,w[/bold],\nx.png,b,query,w[/bold],:dog:\nx.png,b,gallery,w[/bold],\ng.png,b,gallery,w[/bold],\n"
    (folder / "red" / "manifest.csv").write_text(MANIFEST_HEADER + lines)
    more = ("--method", "plain", "--by-set") if command is search_time else ()
    result = run_command(command, *sides(folder), "--manifest", folder / "red" / "manifest.csv", *more)
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("w[/bold]", "[red]n", ":dog:"))


@pytest.mark.parametrize("option", ["--report", "--json", "--measurements"])
def test_what_cannot_be_written_is_refused_before_anything_is_described(
    option: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described"))
    arguments = (*sides(folder), "--manifest", folder / "red" / "manifest.csv")
    with pytest.raises(DataError, match="cannot be written to"):
        run_command(evaluate, *arguments, option, folder / "file" / "out.json")
