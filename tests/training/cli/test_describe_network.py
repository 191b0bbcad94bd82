from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

from askew_training.cli.describe_network import describe_network
from askew_training.errors import CheckpointError, WeightsError
from askew_training.export.graph import encoder_graph
from askew_training.export.precision import store_half
from askew_training.export.size import expected_bytes
from askew_training.networks.checkpoint import save_checkpoint
from askew_training.networks.cost import cost_of
from askew_training.networks.network import Branch, Network
from askew_training.networks.trunks import Trunk
from tests.support.training_helpers import TINY_TRUNK, checkpoint_of, tiny_network


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(describe_network)
    return application


def run(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


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
def test_networks_cost_what_the_paper_says(app, trunk, projection, channels, stride, parameters, millions, gflops):
    options = () if projection is None else ("--projection", projection)
    report = json.loads(run(app, trunk, *options, "--json").stdout)
    cost = report["cost"]
    assert cost["parameters"] == parameters
    assert f"{parameters / 1e6:.2f}" == millions
    assert [(branch["channels"], branch["stride"]) for branch in cost["branches"]] == [(channels, stride)]
    assert (report["dim"], report["photo_size"]) == (channels, 362)
    if gflops is not None:
        assert cost["flops"] / 1e9 == pytest.approx(gflops, rel=0.015)


def test_operations_are_two_for_each_multiply_accumulate():
    network = tiny_network(dim=16)
    counted = 0

    def count(module, _, output):
        nonlocal counted
        counted += 2 * output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 160, 160, 3, dtype=torch.uint8))
    # What a convolution adds as a bias is not counted, so that folding batch normalisation changes nothing.
    expected = counted
    assert cost_of(network, 160).flops == expected


def test_each_scale_and_each_branch_is_counted():
    branch, other = Branch(Trunk(TINY_TRUNK)), Branch(Trunk(TINY_TRUNK), 32)
    one, another = cost_of(Network([branch]), 128), cost_of(Network([other]), 128)
    assert cost_of(Network([branch], scales=(1.0, 1.0)), 128).flops == 2 * one.flops
    together = cost_of(Network([branch, other]), 128)
    assert together.flops == one.flops + another.flops
    assert together.parameters == one.parameters + another.parameters
    assert [shape.channels for shape in together.branches] == [288, 32]
    # Only shapes are computed: the first map of this photo alone would take 6 GB.
    assert cost_of(Network([branch]), 20_000).flops > 3e11


def test_the_file_is_as_large_as_expected():
    network = tiny_network(dim=512)
    graph = encoder_graph(network, 128)
    # The graph's nodes are the rest: a fixed number of bytes, whatever the precision.
    rest = graph.ByteSize() - expected_bytes(network, "fp32")
    assert 0 < rest < 150_000
    assert abs(store_half(graph).ByteSize() - expected_bytes(network, "fp16") - rest) < 30_000


def test_a_checkpoint_is_described_as_it_is(app, tmp_path):
    network = tiny_network(dim=16, scales=(1.0, 0.5))
    save_checkpoint(tmp_path / "network.pt", checkpoint_of(network))
    result = run(app, tmp_path / "network.pt", "--photo-size", 224)
    assert result.exit_code == 0
    for words in ("288 channels at stride 32", "16 dimensions", "1, 0.5", "at 224 × 224 px", "GFLOPs", "in fp16"):
        assert words in result.stdout


def test_what_cannot_be_described_is_refused(app, tmp_path):
    with pytest.raises(WeightsError, match="name of a timm network"):
        run(app, "resnet9000")
    (tmp_path / "file.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="no Askew checkpoint"):
        run(app, tmp_path / "file.pt")
    save_checkpoint(tmp_path / "network.pt", checkpoint_of(tiny_network()))
    assert run(app, tmp_path / "network.pt", "--dim", 8).exit_code == 2


def test_the_command_imports_nothing_heavy():
    code = (
        "import sys, askew_training.networks.command; print([n for n in ('torch', 'timm', 'onnx') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
