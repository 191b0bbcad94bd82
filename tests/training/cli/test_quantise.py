"""`askew quantise`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from askew_training.cli.export import export
from askew_training.cli.quantise import quantise
from askew_training.errors import DataError, WeightsError
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint
from tests.support.quantised_networks import float_network
from tests.support.training_helpers import SPACE, checkpoint_of, picture, run_command, tiny_network, words


@pytest.fixture
def photos(tmp_path: Path) -> list[str | Path]:
    """Twelve photos, and the options that name them."""
    folder, licences = tmp_path / "facades", tmp_path / "licences.toml"
    folder.mkdir()
    licences.write_text('[licences]\nfacades = "CC0"\n', encoding="utf-8")
    for seed in range(12):
        Image.fromarray(picture(96, 128, seed)).save(folder / f"{seed}.png")
    return ["--photos", folder, "--licences", licences]


@pytest.mark.slow
def test_a_quantised_student_is_exported_and_stays_in_its_space(tmp_path: Path, photos: list[str | Path]) -> None:
    start, output, encoder = (tmp_path / name for name in ("student.pt", "bytes.pt", "bytes.onnx"))
    save_checkpoint(start, checkpoint_of(float_network(), teacher_space=SPACE))
    (tmp_path / "facades" / "broken.jpg").write_bytes(b"no photo")
    result = run_command(quantise, start, output, *photos, "--steps", 4, "--batch", 4, "--learn-size", 96, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["photos"] == 12 and report["space_id"] == SPACE and report["cosine"] > 0.999
    assert report["intake"]["skipped"]["count"] == 1
    learned = load_checkpoint(output, quantised_too=True).description
    assert learned.recipe.endswith("; askew quantise, 4 steps of 4 photos at 96 px")
    assert {source.name: source.photos for source in learned.data}["facades"] == 12
    card = ("--role", "student", "--name", "bytes", "--version", "1", "--licence", "CC0")
    assert "space" in run_command(export, output, encoder, *card).stdout
    assert encoder.is_file()


def test_what_cannot_be_quantised_is_refused(tmp_path: Path, photos: list[str | Path]) -> None:
    start, output = tmp_path / "student.pt", tmp_path / "bytes.pt"
    save_checkpoint(start, checkpoint_of(tiny_network()))
    with pytest.raises(WeightsError, match="of askew_tiny cannot compute with bytes"):
        run_command(quantise, start, output, *photos)
    save_checkpoint(start, checkpoint_of(float_network()))
    refused = run_command(quantise, start, output, *photos, "--device", "nothing")
    assert "expected a device of this machine" in words(refused.stderr)
    for option, value in (
        ("--device", "meta"), ("--seed", -1), ("--rate", "nan"), ("--rate", 1e300), ("--batch", 10**12), ("--learn-size", 10**12),
    ):  # fmt: skip
        assert run_command(quantise, start, output, *photos, option, value).exit_code == 2, (option, value)
    for seed in range(3, 12):
        (tmp_path / "facades" / f"{seed}.png").unlink()
    with pytest.raises(DataError, match="Expected 10 photos or more to learn from, got 3"):
        run_command(quantise, start, output, *photos, "--learn-size", 96)
    assert not output.exists()
