"""`askew import-checkpoint`, and from there to a gallery."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from askew_client import Encoder
from askew_client.errors import UnreadablePhoto
from askew_training.cli.export import export
from askew_training.cli.import_checkpoint import import_checkpoint
from askew_training.cli.whiten import whiten
from askew_training.errors import DataError, WeightsError
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.networks.network import THREE_SCALES
from tests.support.paths import DEMO, ROOT
from tests.support.running_server import run_askew
from tests.support.training_helpers import run_command, words
from tests.training.networks.imported.published_files import (
    THREE,
    RetrievalNetwork,
    release,
    retrieval_network,
    save,
    whitening,
)
from tests.training.photo_files import save_photo

SMALL = ("--trunk", "test_efficientnet")
CHANNELS = 256
MULTI = "retrieval-SfM-120k/ms"


@pytest.fixture(scope="module")
def published() -> RetrievalNetwork:
    return retrieval_network("test_efficientnet")


@pytest.fixture(scope="module")
def files(published: RetrievalNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with two whitenings, a student that lands in its space, and the student's own whitening."""
    folder = tmp_path_factory.mktemp("published")
    whitenings = {"retrieval-SfM-120k": {"ss": whitening(CHANNELS, 1), "ms": whitening(CHANNELS, 2)}}
    save(folder / "teacher.pth", release(published, "efficientnet_b3", Lw=whitenings))
    student = release(published, "efficientnet_b3")
    # The projection of a student that has learned the teacher's features exactly.
    student["state_dict"]["features.5.weight"] = torch.eye(CHANNELS)[:, :, None, None]
    save(folder / "student.pth.tar", {**student, "epoch": 9, "min_loss": np.float64(0.1)})
    save(folder / "student_whitening.pth", whitening(CHANNELS, 3))
    return folder


def test_a_teacher_is_imported_with_and_without_its_whitening(
    files: Path, published: RetrievalNetwork, tmp_path: Path
) -> None:
    bare = run_command(import_checkpoint, files / "teacher.pth", tmp_path / "bare.pt", *SMALL)
    assert "is a retrieval network in cirtorch's layout (timm's EfficientNet); GeM p=2.6" in bare.stdout
    assert "not applied: the whitenings retrieval-SfM-120k/ss, retrieval-SfM-120k/ms" in bare.stdout
    result = run_command(
        import_checkpoint, files / "teacher.pth", tmp_path / "t.pt", *SMALL, "--whitening", MULTI, "--json"
    )
    facts = json.loads(result.stdout)
    checkpoint = load_checkpoint(tmp_path / "t.pt")
    assert (facts["space_id"], facts["dim"], facts["left_out"]) == (checkpoint.space_id, CHANNELS, [])
    assert checkpoint.description.derived_from == load_checkpoint(tmp_path / "bare.pt").space_id
    assert checkpoint.network.scales == THREE_SCALES
    pixels = np.random.default_rng(0).integers(0, 256, (96, 131, 3), dtype=np.uint8)
    layer = whitening(CHANNELS, 2)
    expected = layer["P"] @ (published.extract(pixels, THREE).double().numpy() - layer["m"][:, 0])
    with torch.inference_mode():
        vector = checkpoint.network(torch.from_numpy(pixels)[None])[0].double().numpy()
    assert vector @ expected / np.linalg.norm(expected) > 1 - 1e-6
    single = ("--whitening", "retrieval-SfM-120k/ss", "--photo-size", 362)
    run_command(import_checkpoint, files / "teacher.pth", tmp_path / "ss.pt", *SMALL, *single)
    description = load_checkpoint(tmp_path / "ss.pt").description
    assert (description.scales, description.photo_size) == ((1.0,), 362)


def test_the_difference_from_thumbnails_is_printed(files: Path, tmp_path: Path) -> None:
    photos = [DEMO / "queries" / name for name in ("taj-mahal.jpg", "eiffel-tower.jpg")]
    checks = [each for photo in photos for each in ("--check", photo)]
    arguments = (files / "teacher.pth", tmp_path / "t.pt", *SMALL, *checks, "--photo-size")
    differences = json.loads(run_command(import_checkpoint, *arguments, 128, "--json").stdout)["thumbnails"]
    assert [Path(each["photo"]).name for each in differences] == [photo.name for photo in photos]
    assert all(0.9 < each["cosine"] < 1 - 1e-9 for each in differences)
    printed = run_command(import_checkpoint, *arguments, 128).stdout
    mean, smallest = (f"{value([each['cosine'] for each in differences]):.4f}" for value in (np.mean, min))
    assert f"2 photos that were shrunk: mean cosine {mean}, smallest {smallest}" in printed
    assert "not shrunk at 1024 px" in run_command(import_checkpoint, *arguments, 1024).stdout


def test_what_cannot_be_imported_leaves_no_file(files: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.pt"
    start = (import_checkpoint, files / "teacher.pth")
    with pytest.raises(WeightsError, match=r"no whitening 'other/ms'\. It holds: retrieval-SfM-120k/ss"):
        run_command(*start, output, *SMALL, "--whitening", "other/ms")
    with pytest.raises(WeightsError, match=r"does not fit: features\.0\.weight has the shape"):
        run_command(*start, output)
    with pytest.raises(DataError, match="is not a folder"):
        run_command(*start, tmp_path / "missing" / "out.pt", *SMALL)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(UnreadablePhoto):
        run_command(*start, output, *SMALL, "--check", tmp_path / "broken.jpg")
    before = (files / "teacher.pth").read_bytes()
    assert "name another one" in words(run_command(*start, files / "teacher.pth", *SMALL).output)
    assert (files / "teacher.pth").read_bytes() == before
    both = run_command(*start, output, *SMALL, "--whitening", MULTI, "--space-of", "t.pt")
    assert both.exit_code == 2
    assert "leave --whitening out" in words(both.output)
    assert not output.exists()


def test_a_layer_that_the_published_code_trains_averages_scales_behind_it(files: Path, tmp_path: Path) -> None:
    run_command(import_checkpoint, files / "teacher.pth", tmp_path / "bare.pt", *SMALL)
    layer = torch.nn.Linear(CHANNELS, CHANNELS)
    save(tmp_path / "whiten.pth", layer.state_dict())
    given = ("--start", tmp_path / "bare.pt", "--method", "given", "--scales", 3)
    run_command(whiten, tmp_path / "w.pt", *given, "--whitening", tmp_path / "whiten.pth")
    run_command(whiten, tmp_path / "cut.pt", "--start", tmp_path / "w.pt", "--method", "given", "--dim", 8)
    for name in ("w.pt", "cut.pt"):
        assert load_checkpoint(tmp_path / name).network.scale_mean.behind_linear
    run_command(whiten, tmp_path / "lw.pt", *given, "--whitening", files / "student_whitening.pth")
    assert not load_checkpoint(tmp_path / "lw.pt").network.scale_mean.behind_linear


@pytest.mark.slow
def test_teacher_and_student_meet_in_one_gallery(files: Path, tmp_path: Path) -> None:
    """The student with its teacher's whitening is admitted; with its own, it has a space of its own."""
    options = (*SMALL, "--photo-size", 128)
    run_command(import_checkpoint, files / "teacher.pth", tmp_path / "teacher.pt", *options, "--whitening", MULTI)
    run_command(import_checkpoint, files / "student.pth.tar", tmp_path / "student.pt", *options)
    given = ("--start", tmp_path / "student.pt", "--method", "given")
    run_command(whiten, tmp_path / "asymmetric.pt", *given, "--space-of", tmp_path / "teacher.pt", "--scales", 3)
    run_command(whiten, tmp_path / "symmetric.pt", *given, "--whitening", files / "student_whitening.pth")
    run_command(
        import_checkpoint, files / "student.pth.tar", tmp_path / "at-once.pt", *options, "--space-of", tmp_path / "teacher.pt",
    )  # fmt: skip
    teacher, at_once = (load_checkpoint(tmp_path / f"{name}.pt") for name in ("teacher", "at-once"))
    assert at_once.space_id == teacher.space_id
    for name, role in (("teacher", "teacher"), ("asymmetric", "student"), ("symmetric", "student")):
        card = ("--role", role, "--name", name, "--version", 1, "--licence", "CC0")
        run_command(export, tmp_path / f"{name}.pt", tmp_path / f"{name}.onnx", *card)
    (tmp_path / "photos").mkdir()
    for photo in sorted((DEMO / "gallery").glob("*.jpg"))[:24]:
        shutil.copy(photo, tmp_path / "photos" / photo.name)
    into = ("--gallery", "paper", "--data", tmp_path / "data")
    indexed = run_askew("index", tmp_path / "photos", "--encoder", tmp_path / "teacher.onnx", *into)
    assert indexed.returncode == 0, indexed.stderr
    admitted = run_askew("admit", tmp_path / "asymmetric.onnx", *into)
    assert "mean cosine 1.000" in admitted.stdout, admitted.stderr
    refused = run_askew("admit", tmp_path / "symmetric.onnx", *into)
    assert refused.returncode == 1
    assert Encoder(tmp_path / "symmetric.onnx").manifest.space_id in refused.stderr
    assert Encoder(tmp_path / "teacher.onnx").manifest.space_id in refused.stderr
    quirk = ("--role", "teacher", "--name", "quirk", "--version", 1, "--licence", "CC0")
    run_command(
        export, tmp_path / "teacher.pt", tmp_path / "quirk.onnx", *quirk, "--scale-exponent-of", tmp_path / "student.pt"
    )
    manifest = Encoder(tmp_path / "quirk.onnx").manifest
    assert manifest.space_id == teacher.space_id
    assert "exponent 2.6 of student.pt" in manifest.recipe


def test_a_layer_is_taken_from_a_teacher_that_has_one(files: Path, tmp_path: Path) -> None:
    run_command(import_checkpoint, files / "student.pth.tar", tmp_path / "s.pt", *SMALL)
    run_command(import_checkpoint, files / "teacher.pth", tmp_path / "bare.pt", *SMALL)
    start = (whiten, tmp_path / "x.pt", "--start", tmp_path / "s.pt")
    for arguments, message in (
        (("--method", "given", "--space-of", tmp_path / "bare.pt"), "has no linear layer to give"),
        (("--method", "given", "--space-of", tmp_path / "bare.pt", "--dim", 8), "leave --whitening and --dim out"),
        (("--space-of", tmp_path / "bare.pt"), "--method pca does not use it"),
    ):
        refused = run_command(*start, *arguments)
        assert refused.exit_code == 2
        assert message in words(refused.output)
    save_photo(tmp_path / "p" / "a.png")
    assert not (tmp_path / "x.pt").exists()


def test_the_commands_of_the_page_have_these_options() -> None:
    page = (ROOT / "docs/import.md").read_text()
    lines = re.findall(r"^    askew (.+)$", re.sub(r"\\\n\s+|\$\(.*\)", "", page), re.MULTILINE)
    commands: dict[str, Callable[..., None]] = {
        "import-checkpoint": import_checkpoint,
        "whiten": whiten,
        "export": export,
    }
    assert len(lines) == 14
    for line in lines:
        name, *arguments = shlex.split(line)
        application = typer.Typer()
        application.command()(commands[name])
        # Parsed, and not run.
        typer.main.get_command(application).make_context(name, arguments)
