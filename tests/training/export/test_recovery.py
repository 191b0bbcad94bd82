"""An encoder file becomes a checkpoint again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from askew_client import Encoder
from askew_client.contract.encoder_file import UNSEALED, seal
from askew_client.contract.manifest import DIGEST_KEY, Precision
from askew_training.cli.export import export
from askew_training.cli.import_checkpoint import import_checkpoint
from askew_training.errors import CheckpointError, WeightsError
from askew_training.export.encoder_file import write_encoder
from askew_training.export.recovery import recover_checkpoint
from askew_training.networks.checkpoint import Checkpoint, branches_of, load_checkpoint
from askew_training.networks.names import PoolingName
from askew_training.networks.network import THREE_SCALES, Branch, Network, ScaleMean
from askew_training.networks.trunks import Normalisation, Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import CARD, checkpoint_of, picture, run_command, tiny_network, varied, words


def _network(trunk: str, projection: int | None = None, pooling: PoolingName = "gem", dim: int | None = 16) -> Network:
    torch.manual_seed(3)
    branch = Branch(varied(Trunk(trunk)), projection, pooling)
    if pooling in ("gem", "gemmp"):
        torch.nn.init.uniform_(branch.pool.p, 2.0, 4.0)  # type: ignore[arg-type]
    linear = None if dim is None else torch.nn.Linear(branch.channels, dim)
    return Network([branch], linear).eval()


def _file(network: Network, path: Path, precision: Precision = "fp32") -> Path:
    write_encoder(
        checkpoint_of(network),
        dataclasses.replace(CARD, scales=network.scales, precision=precision),
        path,
        simplified=True,
    )
    return path


def _cosine(file: Path, checkpoint: Checkpoint) -> float:
    photo = picture(120, 100)
    with torch.inference_mode():
        vector = checkpoint.network(torch.from_numpy(photo[None]))[0].numpy()
    return float(Encoder(file).encode(photo).astype(np.float64) @ vector)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["test_efficientnet", "test_resnet", "mobilenetv3_small_050"])
def test_the_weights_of_a_file_give_its_vectors(trunk: str, tmp_path: Path) -> None:
    file = _file(_network(trunk), tmp_path / "tiny.onnx")
    recovered = recover_checkpoint(file)
    assert recovered.description.trunk == trunk
    assert _cosine(file, recovered) > 1 - 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["gemmp", "mac"])
def test_each_pooling_is_read_back(pooling: PoolingName, tmp_path: Path) -> None:
    file = _file(_network(TINY_TRUNK, 24, pooling, None), tmp_path / "tiny.onnx")
    recovered = recover_checkpoint(file)
    assert str(recovered.description.branches[0]) == f"{TINY_TRUNK} → 24 ({pooling})"
    assert recovered.network.linear is None
    assert _cosine(file, recovered) > 1 - 1e-5


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_rounded_weights_stay_as_the_file_stores_them(precision: Precision, tmp_path: Path) -> None:
    file = _file(_network(TINY_TRUNK), tmp_path / "tiny.onnx", precision)
    assert _cosine(file, recover_checkpoint(file)) > 1 - 1e-5


@pytest.mark.parametrize("behind_linear", [False, True])
def test_two_trunks_at_three_scales_are_read_back(behind_linear: bool, tmp_path: Path) -> None:
    one, other = _network(TINY_TRUNK).branches[0], tiny_network().branches[0]
    linear = torch.nn.Linear(one.channels + other.channels, 12)
    network = Network([one, other], linear, THREE_SCALES, ScaleMean(behind_linear)).eval()
    made = checkpoint_of(network)
    made = Checkpoint(network, made.description.model_copy(update={"scale_mean": network.scale_mean}))
    write_encoder(made, dataclasses.replace(CARD, scales=THREE_SCALES), tmp_path / "two.onnx")
    recovered = recover_checkpoint(tmp_path / "two.onnx")
    assert branches_of(recovered.network) == branches_of(network)
    assert recovered.network.scales == pytest.approx(THREE_SCALES)
    assert recovered.description.scale_mean == network.scale_mean
    assert recovered.space_id == made.space_id
    assert _cosine(tmp_path / "two.onnx", recovered) > 1 - 1e-5


@pytest.mark.parametrize("simplified", [False, True])
@pytest.mark.parametrize(("exponent", "dim"), [(3.5, 12), (20.0, 12), (0.5, None)])
def test_scales_are_averaged_with_the_exponent_of_the_file(
    exponent: float, dim: int | None, simplified: bool, tmp_path: Path
) -> None:
    """`askew export --scale-exponent-of` puts another network's into a file; near the own one, the gate does not see it."""
    one, other = _network(TINY_TRUNK).branches[0], tiny_network().branches[0]
    linear = None if dim is None else torch.nn.Linear(one.channels + other.channels, dim)
    network = Network([one, other], linear, THREE_SCALES, ScaleMean(exponent=exponent)).eval()
    card = dataclasses.replace(CARD, scales=THREE_SCALES)
    write_encoder(checkpoint_of(network), card, tmp_path / "two.onnx", simplified=simplified)
    recovered = recover_checkpoint(tmp_path / "two.onnx")
    assert recovered.network.scale_mean == recovered.description.scale_mean == network.scale_mean
    assert _cosine(tmp_path / "two.onnx", recovered) > 1 - 1e-6


def test_the_normalisation_of_the_input_is_the_files(tmp_path: Path) -> None:
    trunk = varied(Trunk(TINY_TRUNK, Normalisation((1.0, 2.0, 3.0), (50.0, 60.0, 70.0))))
    file = _file(Network([Branch(trunk)]).eval(), tmp_path / "tiny.onnx")
    recovered = recover_checkpoint(file)
    assert recovered.network.branches[0].trunk.normalisation == trunk.normalisation
    assert _cosine(file, recovered) > 1 - 1e-5


def test_the_command_keeps_space_data_and_recipe(tmp_path: Path) -> None:
    made = checkpoint_of(_network(TINY_TRUNK))
    write_encoder(made, CARD, tmp_path / "tiny.onnx")
    shown = run_command(import_checkpoint, str(tmp_path / "tiny.onnx"), str(tmp_path / "tiny.pt"))
    assert shown.exit_code == 0, shown.output
    assert "tiny@1, with its weights as fp32 stores them" in words(shown.output)
    loaded = load_checkpoint(tmp_path / "tiny.pt")
    assert loaded.space_id == made.space_id
    assert loaded.description.data == made.description.data
    assert loaded.description.recipe == made.description.recipe
    options = ("--name", "again", "--version", "1", "--licence", "CC0")
    with pytest.raises(CheckpointError, match="defines no space"):
        run_command(export, str(tmp_path / "tiny.pt"), str(tmp_path / "again.onnx"), "--role", "teacher", *options)
    as_student = run_command(
        export, str(tmp_path / "tiny.pt"), str(tmp_path / "again.onnx"), "--role", "student", *options
    )
    assert as_student.exit_code == 0, as_student.output
    photo = picture(90, 130)
    cosine = float(Encoder(tmp_path / "tiny.onnx").encode(photo) @ Encoder(tmp_path / "again.onnx").encode(photo))
    assert cosine > 1 - 1e-5


@pytest.mark.parametrize(
    ("option", "value"),
    [("--trunk", ["resnet50"]), ("--whitening", ["x/ss"]), ("--space-of", ["t.pt"]), ("--last-step", [])],
)
def test_options_for_published_files_are_refused(option: str, value: list[str], tmp_path: Path) -> None:
    shown = run_command(import_checkpoint, str(tmp_path / "tiny.onnx"), str(tmp_path / "tiny.pt"), option, *value)
    assert shown.exit_code == 2
    assert option in words(shown.output)


@pytest.mark.parametrize("damage", ["weights", "names", "trunk", "regions"])
def test_a_file_that_is_not_its_network_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.onnx"
    pooling: PoolingName = "rgem" if damage == "regions" else "gem"
    write_encoder(checkpoint_of(_network(TINY_TRUNK, pooling=pooling)), CARD, file, simplified=False)
    model = onnx.load(file)
    if damage == "weights":
        # A second path through the graph that the manifest does not tell of.
        doubled = onnx.helper.make_node("Neg", ["descriptor/before"], ["descriptor"])
        for node in model.graph.node:
            node.output[:] = ["descriptor/before" if name == "descriptor" else name for name in node.output]
        model.graph.node.append(doubled)
    elif damage == "names":
        for node in model.graph.node:
            node.name = ""
    for each in model.metadata_props:
        if each.key == DIGEST_KEY:
            each.value = UNSEALED
        elif each.key == "askew.trunk" and damage == "trunk":
            each.value = "test_efficientnet"
    file.write_bytes(seal(model.SerializeToString()))
    with pytest.raises(WeightsError, match=str(file)):
        recover_checkpoint(file)
