"""`askew evaluate-landmarks` on a small set in the published layout, part of which was fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from askew_client import Encoder
from askew_training.cli.evaluation.evaluate_landmarks import evaluate_landmarks
from askew_training.errors import DataError
from askew_training.evaluate.landmarks.solution import image_path
from askew_training.evaluate.measurement import read_measurement
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import picture, run_command


def save(folder: Path, image: str, seed: int) -> None:
    path = image_path(folder, image)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(60, 80, seed)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "gldv2"
    for seed, image in enumerate(("aaa1", "bbb1", "ccc1")):
        save(root / "index", image, seed)
    save(root / "test", "qaa1", 0)
    save(root / "test", "qbb1", 1)
    (root / "index.csv").write_text("id\naaa1\nbbb1\nccc1\nnot-fetched\n")
    (root / "retrieval_solution_v2.1.csv").write_text(
        "id,images,Usage\nqaa1,aaa1 not-fetched,Public\nqbb1,bbb1 ccc1,Private\nqcc1,ccc1,Private\nqdd1,None,Ignored\n"
    )
    return root


def run(root: Path, encoder: Path, *more: object) -> Result:
    common = ("--root", root, "--queries", encoder, "--gallery", encoder, "--cache", root.parent / "cache")
    return run_command(evaluate_landmarks, *common, *more)


def test_public_and_private_are_measured_apart_on_what_was_fetched(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    result = run(root, encoder, "--measurements", tmp_path / "out.json")
    assert result.exit_code == 0
    assert "left out: 1 photo, index: images that were not fetched" in result.output
    assert "queries of Usage Ignored" in result.output and "mAP@100" in result.stdout
    public, private = (read_measurement(tmp_path / f"out.{part}.json") for part in ("public", "private"))
    assert (public.mean_average_precision, public.gallery_photos, len(private.results)) == (1, 3, 1)
    assert private.results[0].positives == 2
    assert public.excluded == {
        "queries: images that were not fetched": ("qcc1",),
        "index: images that were not fetched": ("not-fetched",),
        "positives that the index lacks": ("not-fetched",),
    }
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described again"))
    assert run(root, encoder).exit_code == 0


def test_queries_that_nothing_matches_are_named_and_are_no_result(root: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    solution = root / "retrieval_solution_v2.1.csv"
    solution.write_text("id,images,Usage\nqaa1,aaa1,Public\nqbb1,,Private\n")
    part = run(root, encoder)
    assert part.exit_code == 0 and "nan" not in part.stdout and "–" in part.stdout
    assert "left out: 1 photo, queries without positives" in part.stderr and "qbb1" in part.stderr
    solution.write_text("id,images,Usage\nqaa1,zzz1,Public\nqbb1,,Private\n")
    with pytest.raises(DataError, match="None of 2 queries of gldv2 has a positive among the 3 index images"):
        run(root, encoder, "--measurements", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_page_shows_both_parts_with_their_photos(root: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    page = tmp_path / "landmarks.html"
    result = run(root, encoder, "--report", page)
    # Two queries, and the three photos of the index.
    assert "with 5 pictures\n" in result.stderr
    text = page.read_text()
    assert "gldv2 public mAP@100: 1 query" in text and "gldv2 private mAP@100: 1 query" in text


def test_another_folder_is_refused(root: Path, tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "teacher.onnx", role="teacher", dim=16)
    (root / "index").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"None of the images of index is in .*index, such as .*a/a/a/aaa1\.jpg"):
        run(root, encoder)
