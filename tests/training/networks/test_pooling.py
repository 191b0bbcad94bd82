from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from askew_client.contract.space import space_id
from askew_training.cli.describe_network import describe_network
from askew_training.errors import CheckpointError, WeightsError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.networks.checkpoint import load_checkpoint, save_checkpoint, space_of
from askew_training.networks.learning import parameter_groups
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network, unit_length
from askew_training.networks.pooling import MAC, RMAC, GeM, GeMmp, RegionalGeM, SPoC, pooling_of
from askew_training.networks.trunks import Trunk
from tests.support.paths import TRAINING_FIXTURES
from tests.support.training_helpers import TINY_TRUNK, checkpoint_of, picture, varied

NAMES = get_args(PoolingName)
BESIDE_GEM = [name for name in NAMES if name != "gem"]
sides = st.integers(1, 24)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A feature map and what the code of Radenović et al. pools it to."""
    with np.load(TRAINING_FIXTURES / "poolings.npz") as values:
        return {name: torch.from_numpy(values[name]).squeeze() for name in values.files}


def small(pooling: PoolingName, scales: tuple[float, ...] = (1.0,)) -> Network:
    torch.manual_seed(3)
    branch = Branch(varied(Trunk(TINY_TRUNK)), 24, pooling)
    off_start(branch.pool)
    return Network([branch], None, scales).eval()


def off_start(pool: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter += 0.3 * torch.rand_like(parameter)
    return pool


def brought_to_length(vector: torch.Tensor) -> torch.Tensor:
    return vector / (vector.norm() + 1e-6)


def squares(height: int, width: int) -> list[tuple[int, int, int]]:
    """Top, left and side of R-MAC's squares, from the definition: the overlap nearest to 40 %, in exact numbers."""
    short, long = min(height, width), max(height, width)
    gaps = [abs(1 - Fraction(long - short, steps * short) - Fraction(2, 5)) for steps in range(1, 7)]
    more = 0 if long == short else 1 + gaps.index(min(gaps))
    found = []
    for level in (1, 2, 3):
        side = 2 * short // (level + 1)
        counts = [level + (more if extent > short else 0) for extent in (height, width)]
        tops, lefts = (
            [order * (extent - side) // (count - 1) if count > 1 else 0 for order in range(count)]
            for extent, count in zip((height, width), counts, strict=True)
        )
        found += [(top, left, side) for top in tops for left in lefts if side]
    return found


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
def test_gem_is_the_published_one(published, p):
    expected = published[f"gem_p{p}"]
    for pool in (GeM(p), GeMmp(7, p)):
        torch.testing.assert_close(pool.double()(published["feature_map"]), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "pool"), [("mac", MAC()), ("spoc", SPoC())])
def test_maximum_and_average_are_the_published_ones(published, name, pool):
    torch.testing.assert_close(pool(published["feature_map"]), published[name], atol=1e-6, rtol=0)


def test_rmac_is_the_published_one(published):
    # The published value is in single precision.
    torch.testing.assert_close(RMAC()(published["feature_map"]).float(), published["rmac_L3"], atol=2e-6, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(0, 99))
def test_regional_poolings_sum_over_the_squares_of_the_paper(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64)
    pool = off_start(RegionalGeM(3).double())
    with torch.no_grad():
        maxima, means = RMAC()(features), pool(features)
        for index, one in enumerate(features):
            regions = [one, *(one[:, y : y + side, x : x + side] for y, x, side in squares(height, width))]
            expected = sum(brought_to_length(region.amax((1, 2))) for region in regions)
            torch.testing.assert_close(maxima[index], expected)
            pooled = [(region**pool.p).mean((1, 2)) ** (1 / pool.p) for region in regions]
            expected = sum(brought_to_length(pool.whiten(brought_to_length(vector))) for vector in pooled)
            torch.testing.assert_close(means[index], expected)


def test_a_regional_whitening_starts_as_none():
    pool, features = RegionalGeM(3), torch.rand(1, 3, 6, 9)
    regions = [features[0], *(features[0, :, y : y + side, x : x + side] for y, x, side in squares(6, 9))]
    expected = sum(brought_to_length(GeM()(region[None])[0]) for region in regions)
    torch.testing.assert_close(pool(features)[0], expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=30)
@given(sides, sides, st.lists(st.floats(1, 6), min_size=3, max_size=3))
def test_each_channel_has_its_own_exponent(height, width, exponents):
    features = torch.rand(1, 3, height, width, dtype=torch.float64)
    pool = GeMmp(3).double()
    with torch.no_grad():
        pool.p.copy_(torch.tensor(exponents))
        alone = [GeM(p).double()(features)[0, channel] for channel, p in enumerate(exponents)]
        torch.testing.assert_close(pool(features)[0], torch.stack(alone), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["gem", "gemmp", "rgem"])
def test_exponents_and_whitening_learn(name):
    pool = off_start(pooling_of(name, 2).double())
    names, values = zip(*pool.named_parameters(), strict=True)
    features = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def pooled(features, *parameters):
        return torch.func.functional_call(pool, dict(zip(names, parameters, strict=True)), features)

    assert torch.autograd.gradcheck(pooled, (features, *(value.detach().requires_grad_() for value in values)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [1.0, 3.0, 12.0])
def test_maps_of_zeros_have_gradients(name, exponent):
    pool = pooling_of(name, 5)
    if hasattr(pool, "p"):
        nn.init.constant_(pool.p, exponent)
    features = torch.zeros(2, 5, 4, 6)
    features[1, 0, 1, 1] = 1.0
    features.requires_grad_()
    vectors = unit_length(pool(features))
    (vectors * torch.arange(5.0)).sum().backward()
    assert bool(torch.isfinite(vectors).all())
    assert all(bool(torch.isfinite(value.grad).all()) for value in (features, *pool.parameters()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_maps_in_half_precision_are_pooled_in_single_precision(name, half):
    # Their cubes are beyond half precision.
    features = (100 * torch.rand(2, 5, 6, 4)).to(half)
    pool = pooling_of(name, 5)
    torch.testing.assert_close(pool(features), pool(features.float()), atol=0, rtol=0)
    assert pool(features).dtype == torch.float32


@pytest.mark.parametrize("name", ["gem", "rgem"])
def test_vectors_under_autocast_are_in_single_precision(name):
    network = small(name, scales=(1.0, 0.5))
    pixels = torch.from_numpy(picture(90, 131))[None]
    with torch.inference_mode():
        exact = network(pixels)[0]
        with torch.autocast("cpu", torch.bfloat16):
            vector = network(pixels)[0]
    assert vector.dtype == torch.float32
    assert float(vector.norm()) == pytest.approx(1, abs=1e-6)
    assert float(vector @ exact) > 0.99


@pytest.mark.parametrize("name", BESIDE_GEM)
def test_scales_are_averaged_without_a_power_beside_gem(name):
    network, pixels = small(name), torch.from_numpy(picture(90, 131))[None]
    branch = network.branches[0]
    with torch.inference_mode():
        singles = []
        for scale in (1.0, 0.5):
            photos = nn.functional.interpolate(
                branch.normalise(pixels), scale_factor=scale, mode="bilinear", align_corners=False
            )
            singles.append(unit_length(branch.pool(branch.projection(branch.trunk(photos)))))
        torch.testing.assert_close(branch(pixels, (1.0, 0.5)), unit_length(singles[0] + singles[1]))


@pytest.mark.parametrize("name", BESIDE_GEM)
def test_exported_networks_do_the_same_for_photos_of_any_shape(name):
    network = small(name, scales=(1.0, 0.5))
    graph = encoder_graph(network, 192)
    check_graph(graph, network, 192)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in ((32, 32), (33, 190), (191, 33), (192, 96)):
        photos = np.stack([picture(height, width, seed) for seed in range(2)])
        with torch.inference_mode():
            expected = network(torch.from_numpy(photos)).numpy()
        (actual,) = session.run(["descriptor"], {"image": photos})
        np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["rmac", "rgem"])
def test_exported_regions_are_exact_for_maps_of_any_shape(name):
    pool, file = off_start(pooling_of(name, 3)).eval(), io.BytesIO()
    with pytest.warns():
        torch.onnx.export(
            pool,
            (torch.rand(1, 3, 6, 9),),
            file,
            dynamo=False,
            opset_version=18,
            input_names=["features"],
            dynamic_axes={"features": {0: "N", 2: "h", 3: "w"}},
        )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for shape in [(1, 1), (1, 2), (1, 31), (2, 3), (3, 3), (4, 9), (9, 5), (17, 4), (25, 61), (32, 24)]:
        features = torch.rand(2, 3, *shape)
        (actual,) = session.run(None, {"features": features.numpy()})
        np.testing.assert_allclose(actual, pool(features).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_each_pooling_gives_another_space():
    spaces = set()
    for name in NAMES:
        network = small(name)
        tensors = {
            key.removeprefix("branches.0."): tensor.numpy()
            for key, tensor in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        constants = {"gem": ["eps"], "gemmp": ["eps"], "rmac": ["eps", "levels"], "rgem": ["eps", "levels"]}.get(
            name, []
        )
        pooling = {"name": name, **{key: {"eps": 1e-6, "levels": 3}[key] for key in constants}}
        assert space_of(network) == space_id(dim=24, pooling=pooling, whitened=False, tensors=tensors)
        spaces.add(space_of(network))
    assert len(spaces) == len(NAMES)
    mixed = [
        Network([Branch(Trunk(TINY_TRUNK), 4, name) for name in pair]) for pair in (("mac", "spoc"), ("spoc", "mac"))
    ]
    mixed[1].load_state_dict(mixed[0].state_dict())
    assert space_of(mixed[0]) != space_of(mixed[1])


def test_a_checkpoint_brings_back_its_poolings(tmp_path):
    branches = [Branch(varied(Trunk(TINY_TRUNK)), 8, name) for name in NAMES]
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
        f"{TINY_TRUNK} → 8 ({name})" for name in BESIDE_GEM
    )


def test_a_checkpoint_from_before_there_were_poolings_is_gem(tmp_path):
    network = small("gem")
    description = json.loads(checkpoint_of(network).description.model_dump_json())
    assert description["branches"][0].pop("pooling") == "gem"
    content = {"description": json.dumps(description), "tensors": network.state_dict()}
    torch.save(content, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").space_id == space_of(network)
    description["branches"][0]["pooling"] = "netvlad"
    torch.save({**content, "description": json.dumps(description)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="does not hold together"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_an_unknown_pooling_is_refused():
    with pytest.raises(WeightsError, match="gem, gemmp, mac, spoc, rmac, rgem, got 'max'"):
        Branch(Trunk(TINY_TRUNK), 8, "max")


def test_exponents_of_channels_learn_a_hundred_times_faster_and_none_decays():
    network = Network([Branch(Trunk(TINY_TRUNK), 8, name) for name in NAMES])
    shared, by_channel, rest = parameter_groups(network, 1e-3, 1e-6)
    pools = dict(zip(NAMES, (branch.pool for branch in network.branches), strict=True))
    assert [id(p) for p in shared["params"]] == [id(pools["gem"].p), id(pools["rgem"].p)]
    assert [id(p) for p in by_channel["params"]] == [id(pools["gemmp"].p)]
    assert (shared["lr"], shared["weight_decay"]) == (pytest.approx(1e-2), 0.0)
    assert (by_channel["lr"], by_channel["weight_decay"]) == (pytest.approx(1e-1), 0.0)
    assert any(p is pools["rgem"].whiten.weight for p in rest["params"])
    assert len(rest["params"]) + 3 == len(list(network.parameters()))


def test_a_pooling_can_be_asked_for_by_describe_network(tmp_path):
    application = typer.Typer()
    application.command()(describe_network)

    def parameters(*options):
        result = CliRunner().invoke(application, [TINY_TRUNK, "--projection", "8", "--json", *options])
        return json.loads(result.stdout)["cost"]["parameters"]

    assert parameters("--pooling", "gem") == parameters()
    assert parameters("--pooling", "mac") == parameters() - 1
    assert parameters("--pooling", "gemmp") == parameters() + 7
    assert parameters("--pooling", "rgem") == parameters() + 72
