"""Checkpoints, and the spaces that networks define."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from askew_client.contract.space import space_id
from askew_training.errors import CheckpointError
from askew_training.networks.checkpoint import Description, load_checkpoint, save_checkpoint, space_of
from askew_training.networks.names import PoolingName
from askew_training.networks.network import THREE_SCALES, Branch, Network
from askew_training.networks.trunks import Trunk
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import checkpoint_of, picture, tiny_network, varied

POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)
CONSTANTS: dict[PoolingName, dict[str, float]] = {
    "gem": {"eps": 1e-6},
    "gemmp": {"eps": 1e-6},
    "mac": {},
    "spoc": {},
    "rmac": {"eps": 1e-6, "levels": 3},
    "rgem": {"eps": 1e-6, "levels": 3},
}


def off_start(pool: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
    return pool


def small(pooling: PoolingName, scales: tuple[float, ...] = (1.0,)) -> Network:
    torch.manual_seed(3)
    branch = Branch(varied(Trunk(TINY_TRUNK)), 24, pooling)
    off_start(branch.pool)
    return Network([branch], None, scales).eval()


def test_a_space_depends_on_the_weights_and_not_on_scales_or_counters() -> None:
    network = tiny_network()
    before = space_of(network)
    network.scales = THREE_SCALES
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_batches_tracked is not None
            module.num_batches_tracked += 3
    assert space_of(network) == before
    with torch.no_grad():
        assert network.linear is not None
        network.linear.bias[0] += 1e-3
    assert space_of(network) != before
    assert space_of(tiny_network(dim=None)) != before


def test_each_pooling_defines_another_space() -> None:
    spaces = set()
    for name in POOLINGS:
        network = small(name)
        tensors = {
            key.removeprefix("branches.0."): tensor.numpy()
            for key, tensor in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        pooling = {"name": name, **CONSTANTS[name]}
        assert space_of(network) == space_id(dim=24, pooling=pooling, whitened=False, tensors=tensors)
        spaces.add(space_of(network))
    assert len(spaces) == len(POOLINGS)
    pairs: list[list[PoolingName]] = [["mac", "spoc"], ["spoc", "mac"]]
    mixed = [Network([Branch(Trunk(TINY_TRUNK), 4, name) for name in pair]) for pair in pairs]
    mixed[1].load_state_dict(mixed[0].state_dict())
    assert space_of(mixed[0]) != space_of(mixed[1])


def test_a_checkpoint_restores_the_network(tmp_path: Path) -> None:
    network = tiny_network(scales=THREE_SCALES)
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(network))
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.network.scales == THREE_SCALES


def test_a_checkpoint_restores_several_branches(tmp_path: Path) -> None:
    torch.manual_seed(2)
    branches = [Branch(Trunk(TINY_TRUNK), 24), Branch(Trunk("mobilenetv3_small_075"))]
    network = Network(branches, torch.nn.Linear(24 + 432, 16), (2**0.5, 1.0, 0.5**0.5)).eval()
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(network))
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.description.trunk == f"{TINY_TRUNK} → 24 + mobilenetv3_small_075"


def test_a_checkpoint_restores_its_poolings(tmp_path: Path) -> None:
    branches = [Branch(varied(Trunk(TINY_TRUNK)), 8, name) for name in POOLINGS]
    for branch in branches:
        off_start(branch.pool)
    network = Network(branches, torch.nn.Linear(48, 16)).eval()
    save_checkpoint(tmp_path / "network.pt", checkpoint_of(network))
    loaded = load_checkpoint(tmp_path / "network.pt")
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(pixels), network(pixels))
    assert loaded.space_id == space_of(network)
    assert loaded.description.trunk == f"{TINY_TRUNK} → 8 + " + " + ".join(
        f"{TINY_TRUNK} → 8 ({name})" for name in POOLINGS if name != "gem"
    )


def test_a_checkpoint_of_version_1_is_read_and_keeps_its_space(tmp_path: Path) -> None:
    network = tiny_network()
    description = {
        "format_version": 1, "trunk": TINY_TRUNK, "dim": 16, "photo_size": 128, "scales": [1.0], "recipe": "old",
        "data": [], "teacher_space": None,
    }  # fmt: skip
    tensors = {name.removeprefix("branches.0."): tensor for name, tensor in network.state_dict().items()}
    tensors["trunk.features.head.weight"] = torch.zeros(8, 48)
    path = tmp_path / "old.pt"
    torch.save({"description": json.dumps(description), "tensors": tensors}, path)
    loaded = load_checkpoint(path)
    pixels = torch.from_numpy(picture(70, 64))[None]
    with torch.inference_mode():
        assert torch.equal(loaded.network(pixels), network(pixels))
    assert loaded.description.trunk == TINY_TRUNK
    # Its names were those of a single branch, which is how a space still names them.
    assert "trunk.features.stem.0.weight" in tensors
    assert loaded.space_id == space_of(network)


def test_a_checkpoint_that_names_no_pooling_is_of_gem(tmp_path: Path) -> None:
    network = small("gem")
    description = json.loads(checkpoint_of(network).description.model_dump_json())
    assert description["branches"][0].pop("pooling") == "gem"
    content = {"description": json.dumps(description), "tensors": network.state_dict()}
    torch.save(content, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").space_id == space_of(network)
    description["branches"][0]["pooling"] = "netvlad"
    torch.save({**content, "description": json.dumps(description)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="inconsistent"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_the_space_of_one_branch_does_not_name_the_branch() -> None:
    network = tiny_network(dim=4, trunk="tf_efficientnet_lite0")
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_((torch.arange(tensor.numel()) % 7 / 8).reshape(tensor.shape))
    assert space_of(network) == "sp1-cb06867cc94384400ddeeae20a385d70"


def test_an_inconsistent_checkpoint_is_refused(tmp_path: Path) -> None:
    network = tiny_network()
    path = tmp_path / "network.pt"
    description = checkpoint_of(network).description
    wrong = [
        (description.model_copy(update={"dim": 8}).model_dump_json(), "tensors do not fit"),
        (description.model_copy(update={"branches": ()}).model_dump_json(), "inconsistent"),
        (description.model_copy(update={"scales": (0.0,)}).model_dump_json(), "inconsistent"),
        (description.model_copy(update={"format_version": 9}).model_dump_json(), "inconsistent"),
        ("[]", "not an Askew checkpoint"),
        ("{", "not an Askew checkpoint"),
    ]
    for text, message in wrong:
        torch.save({"description": text, "tensors": network.state_dict()}, path)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)
    assert Description.model_validate_json(description.model_dump_json()) == description


def test_a_student_keeps_its_teachers_space() -> None:
    teacher = space_of(tiny_network())
    assert checkpoint_of(tiny_network(dim=8), teacher_space=teacher).space_id == teacher


@pytest.mark.parametrize("content", [b"", b"no torch file", b"PK\x03\x04 broken"])
def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not an Askew checkpoint"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "missing.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    path, network = tmp_path / "network.pt", tiny_network()
    save_checkpoint(path, checkpoint_of(network))
    before = path.read_bytes()
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    with pytest.raises(CheckpointError, match=r"network.pt was not written: the weights .* hold NaN or infinite"):
        save_checkpoint(path, checkpoint_of(network))
    assert path.read_bytes() == before
    torch.save(checkpoint_of(network).content(), path)
    with pytest.raises(CheckpointError, match=r"network.pt holds NaN or infinite values in .*Expected finite weights"):
        load_checkpoint(path)


def test_a_checkpoint_that_is_cut_anywhere_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    save_checkpoint(path, checkpoint_of(tiny_network()))
    whole = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.99, 0.9999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match="is not an Askew checkpoint"):
            load_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing/network.pt cannot be written: No such file or directory"):
        save_checkpoint(tmp_path / "missing" / "network.pt", checkpoint_of(tiny_network()))
