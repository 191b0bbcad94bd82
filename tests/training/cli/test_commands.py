from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from askew_client import Encoder
from askew_client.errors import AskewError
from askew_training import cli as commands
from askew_training.cli.distil import distil
from askew_training.cli.evaluate import evaluate
from askew_training.cli.export import export
from askew_training.cli.mix import mix
from askew_training.cli.whiten import whiten
from askew_training.errors import WeightsError
from askew_training.networks.checkpoint import load_checkpoint
from askew_training.networks.trunks import Trunk
from tests.support.training_helpers import TINY_TRUNK, picture

HEADER = "path,instance_id,role,benchmark,set\n"


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    application = typer.Typer()
    for command in (whiten, mix, distil, export, evaluate):
        application.command(command.__name__)(command)
    return application


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    rows = []
    for i in range(16):
        role = ("train", "train", "query", "gallery")[i % 4]
        Image.fromarray(picture(100, 130, i // 4 if role != "train" else i)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i // 4},{role},walls,north")
    (folder / "broken.png").write_bytes(b"no photo")
    rows.append("broken.png,9,train,walls,north")
    (folder / "manifest.csv").write_text(HEADER + "\n".join(rows) + "\n")
    (folder / "licences.toml").write_text('[licences]\nnorth = "CC0"\n')
    # Some random networks are too coarse for half precision in four dimensions, and the gate rightly refuses them.
    torch.manual_seed(1)
    torch.save(Trunk(TINY_TRUNK).features.state_dict(), folder / "weights.pth")
    return folder


def run(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_from_weights_to_a_measured_pair(app, folder):
    whitened = run(
        app, "whiten", folder / "teacher.pt", "--trunk", TINY_TRUNK, "--weights", folder / "weights.pth",
        "--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv",
        "--photo-size", 128, "--dim", 4, "--cache", folder / "cache",
    )  # fmt: skip
    assert whitened.exit_code == 0
    assert "8 photos" in whitened.stdout
    assert "broken.png" in whitened.output
    assert "1 photos were skipped" in whitened.output
    common = ("--name", "tiny", "--licence", "CC0")
    run(
        app,
        "export",
        folder / "teacher.pt",
        folder / "teacher.onnx",
        "--role",
        "teacher",
        "--version",
        "1",
        *common,
    )
    arguments = ("--manifest", folder / "manifest.csv", "--cache", folder / "cache")
    run(
        app, "evaluate", "--queries", folder / "teacher.onnx", "--gallery", folder / "teacher.onnx",
        *arguments, "--json", folder / "symmetric.json",
    )  # fmt: skip
    report = json.loads((folder / "symmetric.json").read_text())
    assert report["benchmarks"][0]["by_set"]["together"]["mean_average_precision"] == pytest.approx(1.0)
    run(
        app, "export", folder / "teacher.pt", folder / "student.onnx", "--role", "student",
        "--version", "2", "--photo-size", 96, "--scales", 3,
        "--metrics", folder / "symmetric.json", *common,
    )  # fmt: skip
    student = Encoder(folder / "student.onnx").manifest
    assert student.space_id == Encoder(folder / "teacher.onnx").space_id
    assert (student.photo_size, len(student.scales), student.precision) == (96, 3, "fp32")
    assert student.metrics["symmetric.walls.together.mAP"] == 1.0
    assert student.data == [{"name": "north", "licence": "CC0", "photos": 8}]
    asymmetric = run(
        app,
        "evaluate",
        "--queries",
        folder / "student.onnx",
        "--gallery",
        folder / "teacher.onnx",
        *arguments,
    )
    assert "asymmetric" in asymmetric.stdout


def test_a_distilled_student_stays_in_its_teachers_space(app, folder):
    photos = ("--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv")
    cache = ("--cache", folder / "cache")
    run(
        app, "whiten", folder / "t.pt", "--trunk", TINY_TRUNK, "--weights", folder / "weights.pth", *photos, *cache,
        "--photo-size", 128, "--dim", 4, "--scales", 3,
    )  # fmt: skip
    result = run(app, "distil", folder / "t.pt", folder / "s.pt", "--learn-size", 96, *photos, *cache)
    assert "8 photos" in result.stdout
    teacher, student = load_checkpoint(folder / "t.pt"), load_checkpoint(folder / "s.pt")
    assert student.space_id == teacher.space_id
    assert student.description.scales == (1.0,)
    assert student.description.photo_size == 224
    assert not torch.equal(student.network.linear.weight, teacher.network.linear.weight)


def test_several_trunks_side_by_side_make_one_teacher(app, folder):
    another = "mobilenetv3_small_075"
    torch.save(Trunk(another).features.state_dict(), folder / "another.pth")
    run(
        app, "whiten", folder / "two.pt", "--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv",
        "--trunk", TINY_TRUNK, "--weights", folder / "weights.pth", "--trunk", another, "--weights", folder / "another.pth",
        "--photo-size", 128, "--dim", 4, "--scales", "1.4142,1,0.7071", "--cache", folder / "cache",
    )  # fmt: skip
    loaded = load_checkpoint(folder / "two.pt")
    assert loaded.network.linear.in_features == sum(branch.trunk.channels for branch in loaded.network.branches) > 600
    assert "weights weights.pth, another.pth" in loaded.description.recipe
    run(
        app, "export", folder / "two.pt", folder / "two.onnx", "--role", "teacher", "--name", "two", "--version", "1",
        "--licence", "CC0",
    )  # fmt: skip
    manifest = Encoder(folder / "two.onnx").manifest
    assert (manifest.scales, manifest.dim) == ([1.4142, 1.0, 0.7071], 4)
    assert manifest.trunk == f"{TINY_TRUNK} + {another}"


@pytest.mark.parametrize("scales", ["2", "one", "1,", "1,-1", "1,nan", "0.5", "1,9"])
def test_scales_that_are_none_are_refused(app, folder, scales):
    result = run(
        app, "whiten", folder / "x.pt", "--trunk", TINY_TRUNK, "--weights", "random",
        "--licences", folder / "licences.toml", "--scales", scales,
    )  # fmt: skip
    assert result.exit_code == 2
    assert "two to eight factors" in " ".join(result.output.split())


def test_a_network_is_whitened_anew_and_truncated_into_spaces_of_their_own(app, folder):
    photos = ("--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv")
    cache = ("--cache", folder / "cache")
    run(
        app, "whiten", folder / "first.pt", "--trunk", TINY_TRUNK, "--weights", folder / "weights.pth", *photos, *cache,
        "--photo-size", 128, "--dim", 4, "--scales", "1,0.7",
    )  # fmt: skip
    first = load_checkpoint(folder / "first.pt")
    by_pairs = run(
        app,
        "whiten",
        folder / "pairs.pt",
        "--start",
        folder / "first.pt",
        "--method",
        "lw",
        "--dim",
        6,
        *photos,
        *cache,
    )
    assert "8 photos, 6 dimensions" in by_pairs.stdout
    pairs = load_checkpoint(folder / "pairs.pt")
    assert (pairs.description.photo_size, pairs.description.scales) == (128, (1.0, 0.7))
    assert pairs.description.derived_from == first.space_id != pairs.space_id
    assert "with shrinkage 0.5" in pairs.description.recipe
    run(app, "whiten", folder / "cut.pt", "--start", folder / "first.pt", "--method", "given", "--dim", 3)
    cut = load_checkpoint(folder / "cut.pt")
    torch.testing.assert_close(cut.network.linear.weight, first.network.linear.weight[:3])
    assert cut.description.data == first.description.data
    linear = first.network.linear
    published = {"m": torch.zeros(linear.in_features, 1).numpy(), "P": linear.weight.detach().numpy()}
    torch.save(published, folder / "published_whitening.pth")
    run(
        app, "whiten", folder / "given.pt", "--start", folder / "first.pt", "--method", "given",
        "--whitening", folder / "published_whitening.pth",
    )  # fmt: skip
    assert load_checkpoint(folder / "given.pt").network.dim == 4
    run(
        app, "export", folder / "cut.pt", folder / "cut.onnx", "--role", "teacher", "--name", "cut", "--version", "1",
        "--licence", "CC0",
    )  # fmt: skip
    manifest = Encoder(folder / "cut.onnx").manifest
    assert (manifest.derived_from, manifest.space_id, manifest.dim) == (first.space_id, cut.space_id, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --start, or one --trunk"),
        (("--start", "a.pt", "--trunk", TINY_TRUNK), "expected --start, or one --trunk"),
        (("--trunk", TINY_TRUNK, "--method", "lw", "--power", 1), "--method lw does not use it"),
        (("--trunk", TINY_TRUNK, "--shrinkage", 0.1), "--method pca does not use it"),
        (("--trunk", TINY_TRUNK, "--whitening", "w.pth"), "--method pca does not use it"),
        (("--trunk", TINY_TRUNK, "--weights", "random"), "expected the licences of the photos"),
        (("--trunk", TINY_TRUNK, "--weights", "random", "--method", "given"), "with neither, nothing changes"),
    ],
)
def test_options_that_do_not_go_together_are_refused(app, tmp_path, arguments, message):
    result = run(app, "whiten", tmp_path / "x.pt", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_two_spaces_are_not_compared(app, folder):
    common = ("--role", "teacher", "--name", "tiny", "--licence", "CC0", "--version", "1")
    for dim in (3, 4):
        run(
            app, "whiten", folder / f"{dim}.pt", "--trunk", TINY_TRUNK, "--weights", folder / "weights.pth",
            "--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv",
            "--photo-size", 128, "--dim", dim, "--cache", folder / "cache",
        )  # fmt: skip
        run(app, "export", folder / f"{dim}.pt", folder / f"{dim}.onnx", *common)
    with pytest.raises(AskewError, match="two encoders of one space"):
        run(
            app, "evaluate", "--queries", folder / "3.onnx", "--gallery", folder / "4.onnx",
            "--manifest", folder / "manifest.csv", "--cache", folder / "cache",
        )  # fmt: skip


def test_whitening_without_photos_or_licences_is_refused(app, folder, tmp_path):
    arguments = (
        "--trunk",
        TINY_TRUNK,
        "--weights",
        folder / "weights.pth",
        "--licences",
        folder / "licences.toml",
    )
    with pytest.raises(AskewError, match="no photos to learn from"):
        run(app, "whiten", tmp_path / "x.pt", *arguments)
    Image.fromarray(picture(50, 50)).save(tmp_path / "a.png")
    with pytest.raises(AskewError, match="No licence is stated"):
        run(app, "whiten", tmp_path / "x.pt", *arguments, "--photos", tmp_path)
    assert not (tmp_path / "x.pt").exists()


def test_the_commands_import_nothing_heavy():
    heavy = "('torch', 'timm', 'onnx', 'onnxruntime')"
    modules = ", ".join(f"askew_training.cli.{each.name}" for each in pkgutil.iter_modules(commands.__path__))
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_tuned_network_is_mixed_with_its_start_and_put_beside_another(app, folder):
    photos = ("--licences", folder / "licences.toml", "--manifest", folder / "manifest.csv")
    size = ("--photo-size", 128, "--dim", 4, "--cache", folder / "cache")
    tuned, weights = folder / "tuned.pt", ("--weights", folder / "weights.pth")
    run(app, "whiten", tuned, "--trunk", TINY_TRUNK, "--weights", "random", *photos, *size)
    ends = load_checkpoint(tuned)
    start = torch.load(folder / "weights.pth", weights_only=True)
    for share in (0.0, 0.3, 1.0):
        run(app, "mix", tuned, folder / "mixed.pt", *weights, "--share", share)
        mixed = load_checkpoint(folder / "mixed.pt")
        assert mixed.network.linear is None and mixed.description.data == ends.description.data
        assert mixed.description.recipe.endswith(f"askew mix --share {share:g}")
        for name, tensor in mixed.network.branches[0].trunk.features.state_dict().items():
            if tensor.is_floating_point():
                end = ends.network.branches[0].trunk.features.state_dict()[name]
                torch.testing.assert_close(tensor, share * end + (1 - share) * start[name])
    starts = ("--start", folder / "mixed.pt", "--start", tuned)
    run(app, "whiten", folder / "beside.pt", *starts, *photos, *size, "--scales", "1,0.5")
    beside = load_checkpoint(folder / "beside.pt")
    assert (len(beside.network.branches), beside.network.dim) == (2, 4)
    assert (beside.description.scales, beside.description.derived_from) == ((1.0, 0.5), None)
    assert beside.description.recipe.startswith("(") and beside.description.data == ends.description.data
    with pytest.raises(WeightsError, match=r"each of 2 trunk\(s\), got 1"):
        run(app, "mix", folder / "beside.pt", folder / "x.pt", *weights)
