"""`askew whiten`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from askew_client import Encoder
from askew_training.cli.export import export
from askew_training.cli.whiten import whiten
from askew_training.errors import DataError, WeightsError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from askew_training.networks.network import ScaleMean
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_CHANNELS, TINY_TRUNK
from tests.support.training_helpers import run_command, words
from tests.training.photo_files import save_photo

EXPORT = ("--role", "teacher", "--version", 1, "--licence", "CC0")


def layer_of(checkpoint: Path) -> nn.Linear:
    linear = load_checkpoint(checkpoint).network.linear
    assert linear is not None
    return linear


@pytest.mark.slow
def test_several_trunks_side_by_side_make_one_teacher(
    project: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    another = "test_efficientnet"
    torch.save(Trunk(another).features.state_dict(), tmp_path / "another.pth")
    run_command(
        whiten, tmp_path / "two.pt", *photos, "--trunk", TINY_TRUNK, "--weights", project / "weights.pth",
        "--trunk", another, "--weights", tmp_path / "another.pth",
        "--photo-size", 96, "--dim", 4, "--scales", "1.4142,1,0.7071",
    )  # fmt: skip
    assert layer_of(tmp_path / "two.pt").in_features == TINY_CHANNELS + 256
    assert "weights weights.pth, another.pth" in load_checkpoint(tmp_path / "two.pt").description.recipe
    run_command(export, tmp_path / "two.pt", tmp_path / "two.onnx", "--name", "two", *EXPORT)
    manifest = Encoder(tmp_path / "two.onnx").manifest
    assert (manifest.scales, manifest.dim) == ([1.4142, 1.0, 0.7071], 4)
    assert manifest.trunk == f"{TINY_TRUNK} + {another}"


@pytest.mark.parametrize("scales", ["2", "one", "1,", "1,-1", "1,nan", "0.5", "1,9", "1,inf", "1,1e-9"])
def test_invalid_scales_are_refused(project: Path, tmp_path: Path, scales: str) -> None:
    start = ("--trunk", TINY_TRUNK, "--weights", "random", "--licences", project / "licences.toml")
    result = run_command(whiten, tmp_path / "x.pt", *start, "--scales", scales)
    assert result.exit_code == 2
    assert "two to eight factors" in words(result.output)


@pytest.mark.slow
def test_a_network_can_be_whitened_again_and_truncated_into_other_spaces(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    first = load_checkpoint(whitened)
    start = ("--start", whitened)
    by_pairs = run_command(whiten, tmp_path / "pairs.pt", *start, "--method", "lw", "--dim", 6, *photos)
    assert "8 photos, 6 dimensions" in by_pairs.stdout
    pairs = load_checkpoint(tmp_path / "pairs.pt")
    assert (pairs.description.photo_size, pairs.description.scales) == (128, (1.0, 0.7))
    assert pairs.description.derived_from == first.space_id != pairs.space_id
    assert "with shrinkage 0.5" in pairs.description.recipe
    run_command(whiten, tmp_path / "cut.pt", *start, "--method", "given", "--dim", 3)
    cut = load_checkpoint(tmp_path / "cut.pt")
    linear = layer_of(whitened)
    torch.testing.assert_close(layer_of(tmp_path / "cut.pt").weight, linear.weight[:3])
    assert cut.description.data == first.description.data
    published = {"m": torch.zeros(linear.in_features, 1).numpy(), "P": linear.weight.detach().numpy()}
    torch.save(published, tmp_path / "published_whitening.pth")
    given = ("--method", "given", "--whitening", tmp_path / "published_whitening.pth")
    run_command(whiten, tmp_path / "given.pt", *start, *given)
    assert load_checkpoint(tmp_path / "given.pt").network.dim == 4
    run_command(export, tmp_path / "cut.pt", tmp_path / "cut.onnx", "--name", "cut", *EXPORT)
    manifest = Encoder(tmp_path / "cut.onnx").manifest
    assert (manifest.derived_from, manifest.space_id, manifest.dim) == (first.space_id, cut.space_id, 3)


@pytest.mark.slow
def test_a_whitened_network_averages_its_scales_as_it_did_when_the_whitening_was_learned(
    whitened: Path, photos: tuple[object, ...], tmp_path: Path
) -> None:
    start, mean = load_checkpoint(whitened), ScaleMean(exponent=9.0)
    description = start.description.model_copy(update={"scale_mean": mean})
    save_checkpoint(tmp_path / "start.pt", replace(start, description=description))
    for method in (("--method", "given", "--dim", 4), ("--method", "pca", "--dim", 4, *photos)):
        run_command(whiten, tmp_path / "made.pt", "--start", tmp_path / "start.pt", *method)
        made = load_checkpoint(tmp_path / "made.pt")
        assert made.network.scale_mean == made.description.scale_mean == mean
    both = ("--start", tmp_path / "start.pt", "--start", tmp_path / "start.pt", "--dim", 4)
    run_command(whiten, tmp_path / "both.pt", *both, *photos)
    assert load_checkpoint(tmp_path / "both.pt").network.scale_mean == mean
    with pytest.raises(WeightsError, match="average their scales with different exponents: 9, none"):
        run_command(
            whiten, tmp_path / "no.pt", "--start", tmp_path / "start.pt", "--start", whitened, "--dim", 4, *photos
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --start, or one --trunk"),
        (("--start", "a.pt", "--trunk", TINY_TRUNK), "expected --start, or one --trunk"),
        (("--trunk", TINY_TRUNK, "--method", "lw", "--power", 1), "--method lw does not use it"),
        (("--trunk", TINY_TRUNK, "--shrinkage", 0.1), "--method pca does not use it"),
        (("--trunk", TINY_TRUNK, "--whitening", "w.pth"), "--method pca does not use it"),
        (("--start", "a.pt", "--method", "given", "--dim", 2, "--manifest", "m.csv"), "--method given does not use it"),
        (("--start", "a.pt", "--method", "given", "--dim", 2, "--photos", "pool"), "--method given does not use it"),
        (("--trunk", TINY_TRUNK, "--weights", "random"), "expected the licences of the photos"),
        (("--trunk", TINY_TRUNK, "--weights", "random", "--method", "given"), "with none, nothing changes"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    result = run_command(whiten, tmp_path / "x.pt", *arguments)
    assert result.exit_code == 2
    assert message in words(result.output)


def test_whitening_without_photos_or_licences_is_refused(project: Path, tmp_path: Path) -> None:
    start = ("--trunk", TINY_TRUNK, "--weights", project / "weights.pth", "--licences", project / "licences.toml")
    with pytest.raises(DataError, match="no photos to learn from"):
        run_command(whiten, tmp_path / "x.pt", *start)
    save_photo(tmp_path / "a.png")
    (tmp_path / "few.toml").write_text(f'[licences]\n"{tmp_path.name}" = "CC0"\n')
    few = (*start[:-1], tmp_path / "few.toml", "--photos", tmp_path)
    # Both are known before a photo is described.
    with pytest.raises(DataError, match="Expected 1 to 48 dimensions"):
        run_command(whiten, tmp_path / "x.pt", *few, "--cache", tmp_path / "cache")
    with pytest.raises(DataError, match="more than 1 photos, got 1"):
        run_command(whiten, tmp_path / "x.pt", *few, "--dim", 1, "--cache", tmp_path / "cache")
    save_photo(tmp_path / "b.png", 1)
    with pytest.raises(DataError, match="No two photos show the same"):
        run_command(whiten, tmp_path / "x.pt", *few, "--dim", 1, "--method", "lw", "--cache", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(DataError, match="No licence is stated"):
        run_command(whiten, tmp_path / "x.pt", *start, "--photos", tmp_path)
    assert not (tmp_path / "x.pt").exists()
