"""Reading the ground truth: both forms, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askew_client.cli.taken import Intake
from askew_training.errors import DataError
from askew_training.evaluate.revisited.ground_truth import find_ground_truth, read_ground_truth
from askew_training.evaluate.revisited.photo_files import distractor_photos, find_photos
from tests.training.evaluate.revisited.truths import TOY, write_truth
from tests.training.photo_files import save_photo


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


def test_a_single_number_of_an_array_is_no_list(tmp_path: Path) -> None:
    truth = copy.deepcopy(TOY)
    truth["gnd"][0]["easy"] = np.array(3)
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth))
    with pytest.raises(DataError, match="easy to be a list of rows"):
        read_ground_truth(tmp_path / "gnd_roxford5k.pkl")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_and_json_are_the_same(tmp_path: Path, protocol: int) -> None:
    truth = copy.deepcopy(TOY)
    truth["gnd"][0]["easy"] = np.array([0, 1])
    truth["gnd"][0]["bbx"] = np.array([0.0, 0.0, 10.0, 10.0])
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth, protocol))
    pickled = read_ground_truth(tmp_path / "gnd_roxford5k.pkl")
    plain = read_ground_truth(write_truth(tmp_path, TOY))
    assert pickled.images == plain.images == tuple(TOY["imlist"])
    for one, other in zip(pickled.queries, plain.queries, strict=True):
        assert (one.name, one.box, one.landmark) == (other.name, other.box, other.landmark)
        for grade in ("easy", "hard", "junk"):
            np.testing.assert_array_equal(getattr(one, grade), getattr(other, grade))


def test_nothing_in_a_pickle_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps({**TOY, "more": Hostile()}))
    with pytest.raises(DataError, match="nothing was executed"):
        read_ground_truth(tmp_path / "gnd_roxford5k.pkl")
    assert not Path("executed").exists()


def query(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda truth: truth["gnd"][0].update(changes)


def the_old_protocol(truth: dict[str, Any]) -> None:
    truth["gnd"][0] = {"bbx": [0, 0, 1, 1], "ok": [1], "junk": []}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda truth: truth.pop("qimlist"), "no ground truth of revisited Oxford or Paris"),
        (lambda truth: truth["gnd"].pop(), "an entry of gnd for each of 2 queries, got 1"),
        (lambda truth: truth["imlist"].append(truth["imlist"][0]), "each once, got arch_000000"),
        (lambda truth: truth["imlist"].append("../../etc/passwd"), "imlist to be a list of photo names"),
        (query(easy=[0, 8]), "rows from 0 to 7 in easy, got 0 to 8"),
        (query(easy=[-1]), "rows from 0 to 7 in easy, got -1 to -1"),
        (query(hard=[1.5]), "hard to be a list of rows"),
        (query(hard="12"), "hard to be a list of rows"),
        (query(hard=None), "hard to be a list of rows"),
        (query(junk=[[1], [2]]), "junk to be a list of rows"),
        (query(junk=[1]), "a photo is listed twice"),
        (query(bbx=[1, 2, 3]), "the box bbx as x1, y1, x2, y2"),
        (query(bbx=None), "the box bbx as x1, y1, x2, y2"),
        (query(bbx=[5, 0, 5, 9]), "a box with x1 < x2"),
        (query(bbx=[0, 0, float("nan"), 9]), "a box with x1 < x2"),
        (the_old_protocol, "It is the protocol of 2007"),
    ],
)
def test_another_layout_is_refused_with_a_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    truth = copy.deepcopy(TOY)
    change(truth)
    with pytest.raises(DataError, match=sentence):
        read_ground_truth(write_truth(tmp_path, truth))


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    for content in (b"\xff", b"{", b"[]", b"[" * 100_000):
        (tmp_path / "gnd_roxford5k.json").write_bytes(content)
        with pytest.raises(DataError, match=r"gnd_roxford5k\.json"):
            read_ground_truth(tmp_path / "gnd_roxford5k.json")


def test_files_are_found_in_the_folders_of_the_publisher(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no ground truth of roxford5k"):
        find_ground_truth(tmp_path, "roxford5k")
    path = write_truth(tmp_path / "roxford5k", TOY)
    assert find_ground_truth(tmp_path, "roxford5k") == path
    truth = read_ground_truth(path)
    with pytest.raises(DataError, match="does not fit the photos"):
        find_photos(tmp_path, "roxford5k", truth)
    for name in ("arch_000002.jpg", "arch_000008.png", "arch_000009.jpg"):
        save_photo(tmp_path / "roxford5k" / "jpg" / name)
    files = find_photos(tmp_path, "roxford5k", truth)
    assert len(files) == 10
    assert files["arch_000008"] == tmp_path / "roxford5k" / "jpg" / "arch_000008.png"
    assert not files["arch_000001"].exists()


def test_distractors_are_those_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        distractor_photos(tmp_path / "none", Intake())
    for name in ("b.jpg", "a.jpg", "c.jpg"):
        save_photo(tmp_path / "jpg" / name)
    assert [photo.path.name for photo in distractor_photos(tmp_path, Intake())] == ["a.jpg", "b.jpg", "c.jpg"]
    (tmp_path / "revisitop1m.txt").write_text("c.jpg\nb.jpg\n\nnot-fetched.jpg\nc.jpg\n")
    photos = distractor_photos(tmp_path, Intake())
    assert [photo.id for photo in photos] == ["c.jpg", "b.jpg", "not-fetched.jpg"]
    assert photos[0].path == tmp_path / "jpg" / "c.jpg"
    (tmp_path / "revisitop1m.txt").write_text("../outside.jpg\n")
    with pytest.raises(DataError, match="names of photos below"):
        distractor_photos(tmp_path, Intake())
