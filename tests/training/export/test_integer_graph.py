"""Encoder files whose convolutions multiply bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from askew_client import Encoder
from askew_client.encoding.runtime import load_onnxruntime, open_session
from askew_training.errors import CheckpointError, GateError
from askew_training.export.encoder_file import write_encoder
from askew_training.export.graph import encoder_graph
from askew_training.export.integer_graph import with_integer_convolutions
from askew_training.export.mobile import write_mobile
from askew_training.export.quantised_network import exportable
from askew_training.export.reexport import rewrite_encoder
from askew_training.export.simplification import simplify
from askew_training.networks.quantised.layers import ByteConvolution, ByteSum
from tests.support.quantised_networks import float_network, quantised_checkpoint
from tests.support.training_helpers import CARD, SPACE, checkpoint_of, picture

BYTES = replace(CARD, role="student", precision="int8-compute")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "student.onnx"
    report = write_encoder(quantised_checkpoint(), BYTES, path)
    assert report.cosine_distance < 1e-4
    return path


@pytest.mark.slow
def test_the_engine_multiplies_bytes_in_every_convolution(student: Path, tmp_path: Path) -> None:
    options = load_onnxruntime().SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    open_session(student, options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    modules = list(quantised_checkpoint().network.modules())
    convolutions = [each for each in modules if isinstance(each, ByteConvolution)]
    assert kinds.count("QLinearConv") == len(convolutions)
    assert kinds.count("QLinearAdd") == sum(isinstance(each, ByteSum) for each in modules)
    # Nothing is rounded or converted in between, but for what is pooled, and the weights of the last layer.
    assert not {"Conv", "FusedConv", "QuantizeLinear", "Pad"} & set(kinds)
    assert kinds.count("DequantizeLinear") == 1
    weights = [tensor for tensor in onnx.load(student).graph.initializer if tensor.name.endswith(".weight/bytes")]
    assert len(weights) == len(convolutions)
    assert all(numpy_helper.to_array(tensor).dtype == np.int8 for tensor in weights)


@pytest.mark.slow
def test_the_client_uses_the_file_and_its_vectors_are_the_float_networks(student: Path) -> None:
    encoder = Encoder(student)
    assert encoder.manifest.precision == "int8-compute"
    assert max(encoder.check_golden().values()) < encoder.manifest.tolerance == 3e-3
    photo = picture(90, 120, 7)
    with torch.inference_mode():
        expected = float_network()(torch.from_numpy(photo[None]))[0].numpy()
    assert 0.999 < float(encoder.encode(photo) @ expected) < 1 - 1e-7


def test_a_float_network_is_not_rounded_at_export(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Let it learn with rounding first: `askew quantise`"):
        write_encoder(checkpoint_of(float_network(), teacher_space=SPACE), BYTES, tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_network_has_no_other_precision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be exported with --precision fp16"):
        write_encoder(quantised_checkpoint(), replace(BYTES, precision="fp16"), tmp_path / "student.onnx")


@pytest.mark.slow
def test_the_file_is_neither_cut_for_accelerators_nor_written_again(student: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Accelerators compute in half precision"):
        write_mobile(student, tmp_path / "parts")
    with pytest.raises(CheckpointError, match="Export it from its checkpoint"):
        rewrite_encoder(student, "2", tmp_path / "again.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_convolution_that_would_stay_in_float_is_an_error() -> None:
    # Its padding is not done by convolutions, so an engine would compute these in single precision.
    plain, weights = exportable(quantised_checkpoint().network)
    with pytest.raises(GateError, match="not between features rounded to bytes"):
        with_integer_convolutions(simplify(encoder_graph(plain, 128)), weights)
