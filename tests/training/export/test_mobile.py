"""The parts of an encoder for mobile accelerators."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.encoding.golden import draw_golden
from askew_client.encoding.photos import read_photo
from askew_client.encoding.runtime import open_session
from askew_training.cli.export import export
from askew_training.errors import DataError, GateError
from askew_training.export import mobile
from askew_training.export.mobile import write_mobile
from askew_training.export.mobile_graphs import FILL, fixed_network, mobile_preprocessing, mobile_sizes
from tests.support.paths import ROOT
from tests.support.small_encoders import make_encoder
from tests.support.training_helpers import picture, run_command

STUDENT = ROOT / "demo/encoders/student.onnx"


class Parts:
    """What an app does with the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.preprocess = open_session(folder / self.manifest["preprocess"]["file"])
        self.networks = {
            (each["height"], each["width"]): open_session(folder / each["file"]) for each in self.manifest["networks"]
        }

    def encode(self, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        (pixels,) = self.preprocess.run(["pixels"], {"image": photo[None]})
        vector: NDArray[np.float32] = self.networks[pixels.shape[1:3]].run(["descriptor"], {"pixels": pixels})[0][0]
        return vector


@pytest.fixture(scope="module")
def parts(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("mobile") / "parts"
    result = run_command(export, teacher, folder, "--target", "mobile")
    assert result.exit_code == 0, result.output
    return Parts(folder)


@pytest.fixture(scope="module")
def student_parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("mobile") / "student"
    write_mobile(STUDENT, folder)
    return Parts(folder)


@pytest.mark.parametrize(
    ("height", "width"), [(96, 128), (300, 400), (1050, 1400), (400, 300), (128, 128), (500, 500), (750, 1000)]
)
def test_photos_of_the_three_aspects_have_the_encoders_vectors(
    teacher: Path, parts: Parts, height: int, width: int
) -> None:
    photo = picture(height, width)
    assert 1 - float(parts.encode(photo) @ Encoder(teacher).encode(photo)) < 1e-6


@pytest.mark.parametrize(
    ("height", "width", "shape", "filled"),
    [
        (1080, 1920, (96, 128), (72, 128)),
        (1920, 1080, (128, 96), (128, 72)),
        (1000, 1100, (128, 128), (116, 128)),
        # √(4/3) = 1.1547: on both sides of it.
        (1000, 1154, (128, 128), (111, 128)),
        (1000, 1155, (96, 128), (96, 111)),
        (1155, 1000, (128, 96), (111, 96)),
        (60, 80, (96, 128), (96, 128)),
        (3, 4000, (96, 128), (1, 128)),
    ],
)
def test_other_photos_keep_their_aspect_on_grey(
    height: int, width: int, shape: tuple[int, int], filled: tuple[int, int]
) -> None:
    session = open_session(mobile_preprocessing(128).SerializeToString())
    photo = np.full((height, width, 3), 255, dtype=np.uint8)
    (pixels,) = session.run(["pixels"], {"image": photo[None]})
    assert pixels.shape[1:3] == shape and pixels.dtype == np.float32
    top, left = (shape[0] - filled[0]) // 2, (shape[1] - filled[1]) // 2
    expected = np.full((1, *shape, 3), FILL, dtype=np.float32)
    expected[:, top : top + filled[0], left : left + filled[1]] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_the_manifest_describes_the_files(teacher: Path, parts: Parts) -> None:
    encoder = Encoder(teacher)
    assert parts.manifest["encoder"] == "tiny@1"
    assert parts.manifest["encoder_sha256"] == encoder.file.sha256
    assert parts.manifest["manifest"] == encoder.manifest.model_dump(mode="json", exclude_none=True)
    entries = [parts.manifest["preprocess"], *parts.manifest["networks"]]
    assert sorted(path.name for path in parts.folder.iterdir()) == sorted(
        ["manifest.json", *(entry["file"] for entry in entries)]
    )
    for entry in entries:
        content = (parts.folder / entry["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
        properties = {each.key: each.value for each in onnx.load_model_from_string(content).metadata_props}
        assert properties == {
            "askew.part": entry["file"].removesuffix(".onnx"),
            "askew.part_of": "tiny@1",
            "askew.part_of_sha256": encoder.file.sha256,
            "askew.licence": "CC0",
        }


def test_the_self_test_holds_the_encoders_own_vectors(teacher: Path, parts: Parts) -> None:
    encoder = Encoder(teacher)
    for network in parts.manifest["networks"]:
        test = network["self_test"]
        expected = np.frombuffer(base64.b64decode(test["vector"]), dtype="<f4")
        photo = draw_golden(test["width"], test["height"], test["seed"])
        np.testing.assert_array_equal(expected, encoder.encode_pixels(photo))
    assert parts.manifest["networks"][0]["self_test"]["vector"] == encoder.manifest.golden["large"]


@pytest.mark.slow
def test_the_self_test_tells_a_right_device_from_a_wrong_one(student_parts: Parts) -> None:
    tolerance = student_parts.manifest["manifest"]["tolerance"]
    for network in student_parts.manifest["networks"]:
        test = network["self_test"]
        expected = np.frombuffer(base64.b64decode(test["vector"]), dtype="<f4")
        photo = draw_golden(test["width"], test["height"], test["seed"])
        assert 1 - float(student_parts.encode(photo) @ expected) < 0.01 * tolerance
        blue_first = np.ascontiguousarray(photo[:, :, ::-1])
        assert 1 - float(student_parts.encode(blue_first) @ expected) > 100 * tolerance


def test_an_existing_folder_is_left_alone(teacher: Path, parts: Parts) -> None:
    before = {path: path.read_bytes() for path in parts.folder.iterdir()}
    with pytest.raises(DataError, match="not to exist"):
        write_mobile(teacher, parts.folder)
    assert {path: path.read_bytes() for path in parts.folder.iterdir()} == before


def test_parts_that_compute_something_else_are_not_written(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def permuted(encoder: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
        model = fixed_network(encoder, height, width)
        linear = next(node for node in model.graph.node if node.op_type == "Gemm")
        weights = next(each for each in model.graph.initializer if each.name == linear.input[1])
        values = onnx.numpy_helper.to_array(weights)[::-1].copy()
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return model

    monkeypatch.setattr(mobile, "fixed_network", permuted)
    with pytest.raises(GateError, match="differ from the encoder"):
        write_mobile(teacher, tmp_path / "parts")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_cannot_be_cut_is_one_sentence(tmp_path: Path) -> None:
    other = make_encoder(tmp_path / "other.onnx", role="student")
    with pytest.raises(GateError, match="reads `image`, too"):
        write_mobile(other, tmp_path / "parts")
    assert [path.name for path in tmp_path.iterdir()] == ["other.onnx"]


def test_a_folder_that_cannot_be_written_is_one_sentence(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        write_mobile(teacher, tmp_path / "missing" / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["4x3", "3x4", "1x1"])
def test_onnx_runtimes_mobile_check(student_parts: Parts, shape: str) -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "onnxruntime.tools.check_onnx_model_mobile_usability", "--log_level", "info"),
            student_parts.folder / f"network-{shape}.onnx",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = checked.stdout + checked.stderr
    found = re.findall(r"(\d+) partitions with a total of (\d+)/(\d+) nodes can be handled by the (.+) EP", lines)
    counts = {name: (int(partitions), int(able), int(nodes)) for partitions, able, nodes, name in found}
    nodes = counts["CoreML MLProgram"][2]
    assert counts["CoreML MLProgram"] == (1, nodes, nodes)
    assert "Model should perform well with CoreML MLProgram as is: YES" in lines
    # Only the two ReduceSum of the last operators are left to the CPU.
    assert counts["NNAPI"] == (3, nodes - 2, nodes)
    assert "Partition sizes: [100, 5, 3]" in lines
    assert counts["CoreML NeuralNetwork"] == (4, nodes - 3, nodes)


@pytest.mark.slow
def test_real_photos_of_other_aspects_stay_close(student_parts: Parts) -> None:
    """The figures of docs/native.md: python benchmarks/mobile_shapes.py."""
    encoder = Encoder(STUDENT)
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for path in sorted((ROOT / "demo/gallery").rglob("*.jpg"))[::5]:
        photo = read_photo(path)
        height, width = photo.shape[:2]
        is_exact = min(height, width) * 4 == max(height, width) * 3 or height == width
        cosines[is_exact].append(float(student_parts.encode(photo) @ encoder.encode_pixels(photo)))
    assert min(cosines[True]) > 1 - 1e-6
    assert np.median(cosines[False]) > 0.95 and min(cosines[False]) > 0.85


def test_the_shapes_are_those_of_the_size_rule() -> None:
    assert mobile_sizes(240) == {"4x3": (180, 240), "3x4": (240, 180), "1x1": (240, 240)}
    assert mobile_sizes(270)["4x3"] == (203, 270)
