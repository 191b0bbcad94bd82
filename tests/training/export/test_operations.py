from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from askew_training.errors import DataError
from askew_training.export.encoder_file import write_encoder
from askew_training.export.operations import operations_of
from askew_training.networks.cost import cost_of
from askew_training.networks.network import Network
from tests.support.paths import DEMO
from tests.support.small_encoders import FEATURES, make_encoder
from tests.support.training_helpers import CARD, checkpoint_of, tiny_network


def test_a_file_costs_what_its_network_costs(network: Network, teacher: Path) -> None:
    assert operations_of(teacher, 128) == cost_of(network, 128).flops
    assert operations_of(teacher, 97) == cost_of(network, 97).flops


@pytest.mark.slow
def test_every_scale_and_every_precision_is_counted(tmp_path: Path) -> None:
    network = tiny_network(scales=(1.0, 0.7))
    card = replace(CARD, scales=network.scales, precision="int8")
    write_encoder(checkpoint_of(network), card, tmp_path / "two.onnx")
    assert operations_of(tmp_path / "two.onnx", 128) == cost_of(network, 128).flops


def test_a_photo_is_shrunk_to_the_photo_size_first(teacher: Path) -> None:
    assert operations_of(teacher, 500) == operations_of(teacher, 128)


def test_matrix_products_count_twice_their_multiplications(tmp_path: Path) -> None:
    path = make_encoder(tmp_path / "grid.onnx", role="teacher", dim=64)
    assert operations_of(path, 100) == 2 * FEATURES * 64


@pytest.mark.slow
def test_the_student_of_the_demo_costs_what_its_trunk_is_known_to_cost() -> None:
    # EfficientNet-Lite0 has 0.407 G multiply-accumulates at 224 px (its published table); the linear layer adds little.
    found = operations_of(DEMO / "encoders/student.onnx", 224)
    assert found == pytest.approx(2 * 0.4e9, rel=0.05)


def test_what_is_no_graph_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="--no-operations"):
        operations_of(tmp_path / "none.onnx", 100)
    with pytest.raises(DataError, match="cannot be read"):
        operations_of(tmp_path / "missing.onnx", 100)
