"""Encoder files whose convolutions multiply bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from askew_client import Encoder
from askew_client.encoding.runtime import load_onnxruntime, open_session
from askew_training.errors import CheckpointError, GateError, WeightsError
from askew_training.export.encoder_file import write_encoder
from askew_training.export.graph import encoder_graph
from askew_training.export.integer_graph import with_integer_convolutions
from askew_training.export.mobile import write_mobile
from askew_training.export.preprocessing import IR_VERSION, OPSET
from askew_training.export.quantised_network import exportable
from askew_training.export.recovery import recover_checkpoint
from askew_training.export.reexport import rewrite_encoder
from askew_training.export.simplification import simplify
from askew_training.networks.checkpoint import Checkpoint
from askew_training.networks.quantised.layers import ByteConvolution, ByteSum, Quantiser
from tests.support.quantised_networks import float_network, quantised_checkpoint, rounded
from tests.support.training_helpers import CARD, SPACE, checkpoint_of, picture

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session

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


class Fixed(nn.Module):
    """Gives the same tensor for anything."""

    def __init__(self, result: Tensor) -> None:
        super().__init__()
        self.result = result

    def forward(self, _features: Tensor) -> Tensor:
        return self.result


@pytest.mark.skipif("avx2" not in Path("/proc/cpuinfo").read_text(), reason="other processors add in another order")
def test_sums_are_rounded_as_the_engine_rounds_them() -> None:
    """One feature of a million between two levels changes all that is behind it, and so the vector by up to 1e-3."""
    random = np.random.default_rng(0)
    levels = np.meshgrid(np.arange(256), np.arange(256))
    first, second = (each.ravel().astype(np.uint8) for each in levels)
    for _ in range(100):
        own, source = (Quantiser(*random.uniform((-3, 1), (-1, 3)).tolist()) for _ in range(2))
        addition = ByteSum(Fixed(own.from_levels(torch.from_numpy(first).double() - own.zero)), source, own)
        addition.quantiser = Quantiser(*random.uniform((-4, 2), (-2, 4)).tolist())
        features = source.from_levels(torch.from_numpy(second).double() - source.zero)
        with torch.inference_mode():
            expected = addition.eval()(features)
        (codes,) = _engine_sum(own, source, addition.quantiser).run(["c"], {"a": first, "b": second})
        actual = addition.quantiser.from_levels(torch.from_numpy(codes).double() - addition.quantiser.zero)
        assert torch.equal(actual, expected)


def _engine_sum(one: Quantiser, other: Quantiser, result: Quantiser) -> Session:
    """An engine that adds bytes `a` and `b` [n] in the ranges of `one` and `other`, to bytes `c` in that of `result`."""
    steps, zeros = ([f"{kind}{place}" for place in range(3)] for kind in ("step", "zero"))
    quantisers = (one, other, result)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["a", steps[0], zeros[0]], ["float_a"]),
            helper.make_node("DequantizeLinear", ["b", steps[1], zeros[1]], ["float_b"]),
            helper.make_node("Add", ["float_a", "float_b"], ["sum"]),
            helper.make_node("QuantizeLinear", ["sum", steps[2], zeros[2]], ["c"]),
        ],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n"]) for name in "ab"],
        [helper.make_tensor_value_info("c", TensorProto.UINT8, ["n"])],
        [helper.make_tensor(n, TensorProto.FLOAT, [], [float(q.step)]) for n, q in zip(steps, quantisers, strict=True)]
        + [helper.make_tensor(n, TensorProto.UINT8, [], [q.zero]) for n, q in zip(zeros, quantisers, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return open_session(model.SerializeToString())


def test_the_file_does_not_become_a_checkpoint_again(student: Path) -> None:
    with pytest.raises(WeightsError, match=r"multiplies bytes.*Expected the fp32, fp16 or int8 file"):
        recover_checkpoint(student)


@pytest.mark.slow
def test_a_channel_with_hardly_a_weight_keeps_its_bias(tmp_path: Path) -> None:
    """Trained EfficientNets have some in most layers. In steps of such weights their bias fits no 32 bits."""
    network = float_network()
    convolution, behind = (network.branches[0].trunk.features.get_submodule(n) for n in ("conv_head", "bn2"))
    assert isinstance(convolution, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d)
    with torch.no_grad():
        convolution.weight[:8] *= 1e-12
        behind.bias[:8] = 3.0
    made = checkpoint_of(rounded(network), teacher_space=SPACE)
    checkpoint = Checkpoint(made.network, made.description.model_copy(update={"arithmetic": "int8"}))
    write_encoder(checkpoint, BYTES, tmp_path / "student.onnx")
    photo = picture(90, 120, 7)
    with torch.inference_mode():
        expected = network(torch.from_numpy(photo[None]))[0].numpy()
    assert float(Encoder(tmp_path / "student.onnx").encode(photo) @ expected) > 0.999


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
