"""Poolings, and networks with them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from askew_client.encoding.runtime import open_session
from askew_training.errors import WeightsError
from askew_training.export.gate import check_graph
from askew_training.export.graph import encoder_graph
from askew_training.export.simplification import simplify
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network, unit_length
from askew_training.networks.pooling import MAC, RMAC, GeM, GeMmp, RegionalGeM, SPoC, pooling_of
from askew_training.networks.trunks import Trunk
from tests.support.paths import TRAINING_FIXTURES
from tests.support.tiny_trunk import TINY_TRUNK
from tests.support.training_helpers import picture, varied

PoolType = TypeVar("PoolType", bound=nn.Module)
NAMES: tuple[PoolingName, ...] = get_args(PoolingName)
BESIDE_GEM = [name for name in NAMES if name != "gem"]
sides = st.integers(1, 24)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A feature map and what the code of Radenović et al. pools it to."""
    with np.load(TRAINING_FIXTURES / "poolings.npz") as values:
        return {name: torch.from_numpy(values[name]).squeeze() for name in values.files}


def off_start(pool: PoolType) -> PoolType:
    """Move the parameters of a pooling away from their start."""
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
    return pool


def small(pooling: PoolingName, scales: tuple[float, ...] = (1.0,)) -> Network:
    torch.manual_seed(3)
    branch = Branch(varied(Trunk(TINY_TRUNK)), 24, pooling)
    off_start(branch.pool)
    return Network([branch], None, scales).eval()


def scaled_to_length(vector: Any) -> Any:
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


def test_gem_between_average_and_maximum():
    features = torch.rand(2, 3, 5, 7)
    average = features.mean((-2, -1))
    torch.testing.assert_close(GeM(p=1.0)(features), average)
    torch.testing.assert_close(GeM(p=3.0)(features), features.pow(3).mean((-2, -1)).pow(1 / 3))
    assert bool((GeM(p=60.0)(features) > 0.9 * features.amax((-2, -1))).all())
    assert bool((GeM()(torch.full((1, 2, 3, 3), -1.0)) > 0).all())


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


@pytest.mark.slow
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
            expected = sum(scaled_to_length(region.amax((1, 2))) for region in regions)
            torch.testing.assert_close(maxima[index], expected)
            pooled = [(region**pool.p).mean((1, 2)) ** (1 / pool.p) for region in regions]
            expected = sum(scaled_to_length(pool.whiten(scaled_to_length(vector))) for vector in pooled)
            torch.testing.assert_close(means[index], expected)


def test_a_regional_whitening_starts_as_the_identity():
    pool, features = RegionalGeM(3), torch.rand(1, 3, 6, 9)
    regions = [features[0], *(features[0, :, y : y + side, x : x + side] for y, x, side in squares(6, 9))]
    expected = sum(scaled_to_length(GeM()(region[None])[0]) for region in regions)
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
def test_exponents_and_whitening_learn(name: PoolingName) -> None:
    pool = off_start(pooling_of(name, 2).double())
    names, values = zip(*pool.named_parameters(), strict=True)
    features = torch.rand(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def pooled(features: torch.Tensor, *parameters: torch.Tensor) -> Any:
        return torch.func.functional_call(pool, dict(zip(names, parameters, strict=True)), features)

    assert torch.autograd.gradcheck(pooled, (features, *(value.detach().requires_grad_() for value in values)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [1.0, 3.0, 12.0])
def test_maps_of_zeros_have_finite_gradients(name: PoolingName, exponent: float) -> None:
    pool = pooling_of(name, 5)
    if isinstance(pool, GeM | GeMmp | RegionalGeM):
        nn.init.constant_(pool.p, exponent)
    features = torch.zeros(2, 5, 4, 6)
    features[1, 0, 1, 1] = 1.0
    features.requires_grad_()
    vectors = unit_length(pool(features))
    (vectors * torch.arange(5.0)).sum().backward()
    assert bool(torch.isfinite(vectors).all())
    for value in (features, *pool.parameters()):
        assert value.grad is not None and bool(torch.isfinite(value.grad).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_maps_in_half_precision_are_pooled_in_single_precision(name: PoolingName, half: torch.dtype) -> None:
    # Their cubes are beyond half precision.
    features = (100 * torch.rand(2, 5, 6, 4)).to(half)
    pool = pooling_of(name, 5)
    torch.testing.assert_close(pool(features), pool(features.float()), atol=0, rtol=0)
    assert pool(features).dtype == torch.float32


@pytest.mark.parametrize("name", ["gem", "rgem"])
def test_vectors_under_autocast_are_in_single_precision(name: PoolingName) -> None:
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
def test_only_gem_averages_scales_with_a_power(name: PoolingName) -> None:
    network, pixels = small(name), torch.from_numpy(picture(90, 131))[None]
    branch = network.branches[0]
    assert branch.projection is not None
    with torch.inference_mode():
        singles = []
        for scale in (1.0, 0.5):
            photos = nn.functional.interpolate(
                branch.normalise(pixels), scale_factor=scale, mode="bilinear", align_corners=False
            )
            singles.append(unit_length(branch.pool(branch.projection(branch.trunk(photos)))))
        torch.testing.assert_close(branch(pixels, (1.0, 0.5)), unit_length(singles[0] + singles[1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", BESIDE_GEM)
def test_exported_networks_compute_the_same_for_photos_of_any_shape(name: PoolingName) -> None:
    network = small(name, scales=(1.0, 0.5))
    graph = simplify(encoder_graph(network, 128))
    check_graph(graph, network, 128)
    session = open_session(graph.SerializeToString())
    for height, width in ((32, 32), (33, 127), (126, 33), (128, 64)):
        photos = np.stack([picture(height, width, seed) for seed in range(2)])
        with torch.inference_mode():
            expected = network(torch.from_numpy(photos)).numpy()
        (actual,) = session.run(["descriptor"], {"image": photos})
        np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rmac", "rgem"])
def test_exported_regions_are_exact_for_maps_of_any_shape(name: PoolingName, tmp_path: Path) -> None:
    pool, file = off_start(pooling_of(name, 3)).eval(), tmp_path / "pool.onnx"
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
    session = open_session(file)
    for shape in [(1, 1), (1, 2), (1, 31), (2, 3), (3, 3), (4, 9), (9, 5), (17, 4), (25, 61), (32, 24)]:
        features = torch.rand(2, 3, *shape)
        (actual,) = session.run(None, {"features": features.numpy()})
        np.testing.assert_allclose(actual, pool(features).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(WeightsError, match="gem, gemmp, mac, spoc, rmac, rgem, got 'max'"):
        Branch(Trunk(TINY_TRUNK), 8, "max")  # type: ignore[arg-type]
