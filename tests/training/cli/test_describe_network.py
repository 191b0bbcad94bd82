"""`askew describe-network`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from askew_training.cli.describe_network import describe_network
from askew_training.errors import CheckpointError, WeightsError
from askew_training.networks.checkpoint import save_checkpoint
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import checkpoint_of, run_command, tiny_network, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "projection", "channels", "stride", "parameters", "millions", "gflops"),
    [
        # The table of the AML paper: parameters to the printed digits.
        ("resnet101", None, 2048, 32, 42_500_161, "42.50", 42.85),
        ("tf_efficientnet_b3", None, 1536, 32, 10_696_233, "10.70", 5.36),
        ("tf_efficientnet_b3", 2048, 2048, 32, 13_841_961, "13.84", 6.26),
        # The counts of the AML authors' own network by the same rule; nothing was printed for VGG16.
        ("mobilenetv2_100", 512, 512, 32, 2_879_233, "2.88", 1.83),
        ("mobilenetv2_100", 2048, 2048, 32, 4_845_313, "4.85", 2.40),
        ("vgg16", None, 512, 16, 14_714_689, "14.71", None),
    ],
)
def test_network_sizes_agree_with_the_paper(
    trunk: str,
    projection: int | None,
    channels: int,
    stride: int,
    parameters: int,
    millions: str,
    gflops: float | None,
) -> None:
    options = () if projection is None else ("--projection", projection)
    report = json.loads(run_command(describe_network, trunk, *options, "--json").stdout)
    cost = report["cost"]
    assert cost["parameters"] == parameters
    assert f"{parameters / 1e6:.2f}" == millions
    assert [(branch["channels"], branch["stride"]) for branch in cost["branches"]] == [(channels, stride)]
    assert (report["dim"], report["photo_size"]) == (channels, 362)
    if gflops is not None:
        assert cost["flops"] / 1e9 == pytest.approx(gflops, rel=0.015)


def test_a_checkpoint_is_described_as_it_is(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "network.pt", checkpoint_of(tiny_network(dim=16, scales=(1.0, 0.5))))
    result = run_command(describe_network, tmp_path / "network.pt", "--photo-size", 224)
    assert result.exit_code == 0
    for text in ("48 channels at stride 16", "16 dimensions", "1, 0.5", "at 224 × 224 px", "GFLOPs", "in fp16"):
        assert text in result.stdout


def test_unknown_networks_and_options_that_conflict_with_a_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="name of a timm network"):
        run_command(describe_network, "resnet9000")
    (tmp_path / "file.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not an Askew checkpoint"):
        run_command(describe_network, tmp_path / "file.pt")
    save_checkpoint(tmp_path / "network.pt", checkpoint_of(tiny_network()))
    assert run_command(describe_network, tmp_path / "network.pt", "--dim", 8).exit_code == 2


@pytest.mark.slow
def test_a_pooling_can_be_chosen() -> None:
    def parameters(*options: str) -> int:
        result = run_command(describe_network, TINY_TRUNK, "--projection", 8, "--json", *options)
        count: int = json.loads(result.stdout)["cost"]["parameters"]
        return count

    assert parameters("--pooling", "gem") == parameters()
    assert parameters("--pooling", "mac") == parameters() - 1
    assert parameters("--pooling", "gemmp") == parameters() + 7
    assert parameters("--pooling", "rgem") == parameters() + 72


def test_a_photo_that_no_encoder_describes_is_refused() -> None:
    """Its operations would overflow."""
    refused = run_command(describe_network, TINY_TRUNK, "--photo-size", 10**12)
    assert refused.exit_code == 2 and "--photo-size" in words(refused.output)
