"""`askew evaluate-revisited` on a small dataset in the published layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from askew_client import Encoder
from askew_client.metrics import average_precision
from askew_training.cli.evaluation.evaluate_revisited import evaluate_revisited
from askew_training.errors import CacheError, DataError
from askew_training.evaluate.measurement import read_measurement
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import picture, run_command, unit_vectors
from tests.training.evaluate.revisited.truths import truth_of

BOXES = ([10.0, 20.0, 190.0, 140.0], [30.5, 0.0, 200.0, 150.0])
"""Of photos with 240 × 180 px."""


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    teacher = make_encoder(folder / "teacher.onnx", role="teacher", dim=16, photo_size=128)
    return teacher, make_encoder(folder / "student.onnx", role="student", dim=16, noise=0.2, photo_size=96)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight gallery photos, two queries; 0 and 1 show the first query's box, 2 the second's."""
    truth = truth_of(8, [{"easy": [0], "hard": [1], "junk": [4]}, {"easy": [2], "hard": [], "junk": []}])
    for query, box in zip(truth["gnd"], BOXES, strict=True):
        query["bbx"] = box
    jpg = tmp_path / "root" / "roxford5k" / "jpg"
    jpg.mkdir(parents=True)
    for row in range(10):
        Image.fromarray(picture(180, 240, row)).save(jpg / f"arch_{row:06}.jpg", quality=95)
    for row, (query, box) in {0: (8, BOXES[0]), 1: (8, BOXES[0]), 2: (9, BOXES[1])}.items():
        with Image.open(jpg / f"arch_{query:06}.jpg") as image:
            image.crop(tuple(box)).save(jpg / f"arch_{row:06}.jpg", quality=95 - 30 * row)  # type: ignore[arg-type]
    (jpg.parent / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth, 2))
    return tmp_path / "root"


def run(root: Path, queries: Path, gallery: Path, *more: object) -> Result:
    common = ("--dataset", "roxford5k", "--root", root, "--queries", queries, "--gallery", gallery)
    return run_command(evaluate_revisited, *common, "--cache", root.parent / "cache", *more)


def test_a_pair_is_measured_and_the_second_time_from_the_cache(
    root: Path, encoders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = encoders
    out = root.parent / "out" / "pair.json"
    result = run(root, student, teacher, "--measurements", out)
    assert result.exit_code == 0
    assert "asymmetric" in result.stdout and "easy" in result.stdout
    measured = {name: read_measurement(out.with_name(f"pair.{name}.json")) for name in ("easy", "medium", "hard")}
    medium = measured["medium"]
    assert (medium.dataset, medium.kind, medium.gallery_photos) == ("roxford5k", "asymmetric", 8)
    assert (medium.queries.photo_size, medium.gallery.photo_size) == (96, 128)
    assert medium.settings == {"crop": True, "scores": "unrounded"}
    assert medium.mean_average_precision == pytest.approx(1.0)
    assert [each.instance for each in medium.results] == ["arch", "arch"]
    assert measured["hard"].excluded == {"queries without positives": ("arch_000009",)}
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_: pytest.fail("a photo was described again"))
    run(root, student, teacher, "--measurements", root.parent / "folder")
    assert len(list((root.parent / "folder").glob("roxford5k.*.json"))) == 3
    with pytest.raises(BaseException, match="described again"):
        run(root, student, teacher, "--no-crop")


def test_a_page_shows_queries_gallery_and_distractors(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, student = encoders
    folder = root.parent / "others"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(picture(100, 120, 50 + number)).save(folder / f"{number}.png")
    page = root.parent / "new" / "page.html"
    result = run(root, student, teacher, "--distractors", "others", folder, "--report", page)
    assert result.exit_code == 0
    pictures = len(list((root.parent / "new" / "page.html.photos").iterdir()))
    assert f"wrote {page} with {pictures} pictures" in result.stderr.replace("\n", " ")
    text = page.read_text()
    assert "others/" in text and "arch_000008" in text and 'class="missing"' not in text
    # Without its only photo, the protocol hard has nothing to show.
    (root / "roxford5k" / "jpg" / "arch_000001.jpg").unlink()
    result = run(root, student, teacher, "--report", page, "--embed")
    assert "not in the report: roxford5k, hard: no query has a match" in result.stderr
    alone = page.read_text()
    assert "data:image/jpeg;base64," in alone and "medium" in alone


def test_without_crops_the_result_is_marked(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, _ = encoders
    result = run(root, teacher, teacher, "--no-crop", "--measurements", root.parent / "whole.json")
    assert "symmetric" in result.stdout and "NOT cropped" in " ".join(result.stdout.split())
    assert read_measurement(root.parent / "whole.easy.json").settings["crop"] is False


def test_distractors_are_photos_or_vectors_of_the_gallerys_encoder(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, student = encoders
    folder = root.parent / "revisitop1m"
    (folder / "jpg").mkdir(parents=True)
    for number in range(5):
        Image.fromarray(picture(100, 120, 50 + number)).save(folder / "jpg" / f"{number}.jpg")
    (folder / "revisitop1m.txt").write_text("".join(f"{number}.jpg\n" for number in range(6)))
    out = root.parent / "photos.json"
    result = run(root, student, teacher, "--distractors", "revisitop1m", folder, "--measurements", out)
    assert result.exit_code == 3
    assert "5.jpg" in result.output
    photos = read_measurement(out.with_name("photos.medium.json"))
    assert (photos.dataset, photos.gallery_photos, photos.distractors) == ("roxford5k+revisitop1m", 13, 5)
    assert photos.excluded["distractors without a vector"] == ("5.jpg",)
    paths = [folder / "jpg" / f"{number}.jpg" for number in range(5)]
    np.save(root.parent / "vectors.npy", Encoder(teacher).encode(paths))
    out = root.parent / "vectors.json"
    run(root, student, teacher, "--distractors", "r1m", root.parent / "vectors.npy", "--measurements", out)
    vectors = read_measurement(out.with_name("vectors.medium.json"))
    assert [each.average_precision for each in vectors.results] == [each.average_precision for each in photos.results]
    (made,) = (root.parent / "cache").glob("distractors-*")
    assert run(root, student, teacher, "--distractors", "revisitop1m", made).exit_code == 3
    other = make_encoder(root.parent / "other.onnx", role="teacher", dim=16, photo_size=128, version="2")
    with pytest.raises(CacheError, match="expected the gallery's encoder"):
        run(root, student, other, "--distractors", "revisitop1m", made)


def test_photos_that_are_missing_are_named_and_left_out(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, _ = encoders
    jpg = root / "roxford5k" / "jpg"
    (jpg / "arch_000001.jpg").unlink()
    (jpg / "arch_000005.jpg").write_bytes(b"no photo")
    (jpg / "arch_000009.jpg").unlink()
    result = run(root, teacher, teacher, "--measurements", root.parent / "part.json")
    assert result.exit_code == 3
    assert "gallery: photos that are not there" in result.output
    easy, hard = (read_measurement(root.parent / f"part.{name}.json") for name in ("easy", "hard"))
    assert easy.gallery_photos == 6
    assert [each.id for each in easy.counted] == ["arch_000008"]
    assert hard.excluded == {
        "gallery: photos that are not there": ("arch_000001",),
        "gallery: photos that cannot be described": ("arch_000005",),
        "queries: photos that are not there": ("arch_000009",),
        "queries without positives": ("arch_000008",),
    }


def test_photos_that_do_not_fit_the_boxes_are_refused(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, _ = encoders
    for row in (8, 9):
        Image.fromarray(picture(45, 60)).save(root / "roxford5k" / "jpg" / f"arch_{row:06}.jpg")
    with pytest.raises(DataError, match=r"was it shrunk or rotated"):
        run(root, teacher, teacher)


def test_a_gallery_of_another_space_needs_a_wish(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, _ = encoders
    foreign = make_encoder(root.parent / "foreign.onnx", role="teacher", dim=16, seed=5)
    with pytest.raises(DataError, match="--allow-foreign-space"):
        run(root, foreign, teacher)
    out = root.parent / "foreign.json"
    result = run(root, foreign, teacher, "--allow-foreign-space", "--measurements", out)
    assert "TWO SPACES" in " ".join(result.stdout.split())
    assert json.loads(out.with_name("foreign.easy.json").read_text())["settings"]["foreign_space"] is True
    narrow = make_encoder(root.parent / "narrow.onnx", role="teacher", dim=8)
    with pytest.raises(DataError, match="8 dimensions"):
        run(root, narrow, teacher, "--allow-foreign-space")


def test_a_folder_that_cannot_be_written_to_is_found_at_once(root: Path, encoders: tuple[Path, Path]) -> None:
    teacher, _ = encoders
    (root.parent / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        run(root, teacher, teacher, "--measurements", root.parent / "file" / "out.json")


def test_the_ranking_is_that_of_the_vectors(root: Path, encoders: tuple[Path, Path]) -> None:
    """With distractors drawn at random, against a plain argsort of everything in memory."""
    teacher, _ = encoders
    drawn = unit_vectors(300, 16, 3).astype(np.float16)
    np.save(root.parent / "drawn.npy", drawn)
    out = root.parent / "drawn.json"
    run(root, teacher, teacher, "--no-crop", "--distractors", "drawn", root.parent / "drawn.npy", "--measurements", out)
    measured = read_measurement(out.with_name("drawn.medium.json"))
    jpg = root / "roxford5k" / "jpg"
    gallery = Encoder(teacher).encode([jpg / f"arch_{row:06}.jpg" for row in range(8)])
    query = Encoder(teacher).encode(jpg / "arch_000008.jpg")
    everything = np.concatenate([gallery, drawn.astype(np.float32)])
    order = [row for row in np.argsort(-(everything @ query), kind="stable") if row != 4]
    ranks = np.array([order.index(row) for row in (0, 1)])
    assert measured.results[0].average_precision == pytest.approx(average_precision(ranks, 2))
