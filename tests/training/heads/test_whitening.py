from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from askew_training.errors import DataError, WeightsError
from askew_training.heads import (
    Whitening,
    apply_linear,
    learn_whitening,
    learn_whitening_of_pairs,
    pairs_of,
    read_published_whitening,
)
from askew_training.heads.pair_whitening import MATES_OF_A_PHOTO
from askew_training.heads.ridge import refit_linear
from tests.support.paths import TRAINING_FIXTURES

FIXTURES = TRAINING_FIXTURES


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    mixed = random.standard_normal((500, 12)) @ np.diag(np.geomspace(3, 0.05, 12)) @ random.standard_normal((12, 12))
    return (mixed + random.standard_normal(12)).astype(np.float32)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_components_are_centred_uncorrelated_and_scaled_by_the_power(vectors, power):
    whitening = learn_whitening(vectors, 12, power)
    mapped = vectors.astype(np.float64) @ whitening.weight.T + whitening.bias
    covariance = np.cov(mapped.T, bias=True)
    plain = np.diag(np.cov((vectors @ learn_whitening(vectors, 12, 0.0).weight.T).T, bias=True))
    expected = plain ** (1 - power)
    assert np.abs(mapped.mean(0)).max() < 1e-4
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-4
    np.testing.assert_allclose(np.diag(covariance) / covariance[0, 0], expected / expected[0], rtol=1e-3)
    assert np.trace(covariance) == pytest.approx(1.0, rel=1e-4)


def test_fewer_dimensions_are_the_first_of_all(vectors):
    whole, part = learn_whitening(vectors, 12, 0.5), learn_whitening(vectors, 5, 0.5)
    ratio = part.weight / whole.weight[:5]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert part.weight.shape == (5, 12)


def test_its_layer_does_the_same(vectors):
    whitening = learn_whitening(vectors, 7, 0.75)
    with torch.inference_mode():
        mapped = whitening.as_layer()(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(
        mapped / np.linalg.norm(mapped, axis=1, keepdims=True), whitening.apply(vectors), atol=1e-5
    )


@pytest.mark.parametrize(
    ("dim", "power", "message"),
    [(13, 0.5, "1 to 12 dimensions"), (0, 0.5, "1 to 12"), (12, 1.5, "power from 0 to 1"), (12, -1, "power")],
)
def test_impossible_requests_are_refused(vectors, dim, power, message):
    with pytest.raises(DataError, match=message):
        learn_whitening(vectors, dim, power)


def test_too_few_photos_or_too_alike_are_refused(vectors):
    with pytest.raises(DataError, match="more than 12 photos"):
        learn_whitening(vectors[:12], 12, 0.5)
    flat = vectors.copy()
    flat[:, 3:] = 1
    with pytest.raises(DataError, match="fewer than 12 dimensions"):
        learn_whitening(flat, 12, 0.5)


def test_a_refitted_layer_undoes_what_the_student_sees_differently(vectors):
    start = learn_whitening(vectors, 8, 0.5)
    targets = start.apply(vectors)
    random = np.random.default_rng(1)
    seen = (vectors @ (np.eye(12) + 0.2 * random.standard_normal((12, 12))) + 0.3).astype(np.float32)
    layer = refit_linear(start.as_layer(), seen, targets, 1e-6)
    before = (start.apply(seen) * targets).sum(1).mean()
    after = (apply_linear(layer, seen) * targets).sum(1).mean()
    assert after > before + 0.05
    kept = refit_linear(start.as_layer(), seen, targets, 1e9)
    np.testing.assert_allclose(apply_linear(kept, seen), start.apply(seen), atol=1e-5)


def test_a_refit_of_shapes_that_do_not_fit_is_refused(vectors):
    start = learn_whitening(vectors, 8, 0.5)
    with pytest.raises(DataError, match="of the same photos"):
        refit_linear(start.as_layer(), vectors, start.apply(vectors)[:-1], 1e-3)
    with pytest.raises(DataError, match="positive ridge"):
        refit_linear(start.as_layer(), vectors, start.apply(vectors), 0)


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    """Computed by the published code: vectors in columns, pairs, and Gram matrices of the whitened unit vectors."""
    return dict(np.load(FIXTURES / "whitening.npz"))


@pytest.mark.parametrize(("dim", "gram"), [(16, "whiten_gram"), (8, "whiten_gram_d8")])
def test_pairs_give_the_whitening_of_the_published_code(official, dim, gram):
    vectors = official["whiten_X"].T
    whitening = learn_whitening_of_pairs(vectors, official["whiten_q"], official["whiten_p"], dim)
    whitened = whitening.apply(vectors)
    np.testing.assert_allclose(whitened[:12] @ whitened.T, official[gram], atol=2e-5)
    mean = vectors[official["whiten_q"]].mean(0)
    np.testing.assert_allclose(mean, official["whiten_m"][:, 0], atol=1e-12)
    np.testing.assert_allclose(whitening.weight @ mean + whitening.bias, 0, atol=1e-5)


def test_full_pca_whitening_is_that_of_the_published_code(official):
    vectors = official["whiten_X"].T
    whitened = learn_whitening(vectors, 8, 1.0).apply(vectors)
    np.testing.assert_allclose(whitened[:12] @ whitened.T, official["pcawhiten_gram_d8"], atol=2e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(2, 9), shrinkage=st.sampled_from([0.0, 0.3]))
def test_what_differs_within_pairs_becomes_round(seed, channels, shrinkage):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((12 * channels, channels)) @ random.standard_normal((channels, channels))
    queries = np.arange(0, len(vectors), 2)
    whitening = learn_whitening_of_pairs(vectors, queries, queries + 1, channels, shrinkage)
    mapped = vectors @ whitening.weight.T.astype(np.float64) + whitening.bias
    differences = mapped[queries] - mapped[queries + 1]
    covariance = differences.T @ differences / len(queries)
    if not shrinkage:
        np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(channels), atol=2e-2)
    scatter = mapped.T @ mapped / len(mapped)
    spreads = np.diag(scatter)
    assert np.abs(scatter - np.diag(spreads)).max() < 1e-3
    assert spreads.sum() == pytest.approx(1, rel=1e-3)
    assert (np.diff(spreads) <= 1e-5).all()


def test_the_first_dimensions_of_a_whitening_are_it_truncated(official):
    vectors = official["whiten_X"].T.astype(np.float32)
    rows = official["whiten_q"], official["whiten_p"]
    whole, part = (learn_whitening_of_pairs(vectors, *rows, dim) for dim in (16, 5))
    np.testing.assert_allclose(whole.truncated(5).apply(vectors), part.apply(vectors), atol=1e-5)
    assert Whitening.of_layer(whole.truncated(3).as_layer()).weight.shape == (3, 16)
    for dim in (0, 17):
        with pytest.raises(DataError, match="1 to 16 dimensions"):
            whole.truncated(dim)


def test_fewer_pairs_than_dimensions_still_give_a_whitening():
    vectors = np.random.default_rng(0).standard_normal((40, 20)).astype(np.float32)
    whitening = learn_whitening_of_pairs(vectors, np.array([0, 1]), np.array([2, 3]), 20)
    assert np.isfinite(whitening.apply(vectors)).all()


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=60))
def test_pairs_show_the_same_and_none_is_twice(instances):
    several = [name for name in "abc" if instances.count(name) > 1]
    if not several:
        with pytest.raises(DataError, match="No two photos show the same"):
            pairs_of(instances)
        return
    queries, positives = pairs_of(instances)
    assert all(instances[q] == instances[p] != "" and q != p for q, p in zip(queries, positives, strict=True))
    assert len(set(zip(queries, positives, strict=True))) == len(queries)
    for name in several:
        times = {list(queries).count(row) for row, other in enumerate(instances) if other == name}
        assert len(times) == 1
        assert 1 <= times.pop() <= MATES_OF_A_PHOTO


def test_pairs_that_teach_nothing_are_refused(official):
    vectors, queries = official["whiten_X"].T, official["whiten_q"]
    with pytest.raises(DataError, match="do not differ"):
        learn_whitening_of_pairs(vectors, queries, queries, 4)
    with pytest.raises(DataError, match="one or more pairs"):
        learn_whitening_of_pairs(vectors, queries, queries[:-1], 4)
    with pytest.raises(DataError, match="1 to 16 dimensions"):
        learn_whitening_of_pairs(vectors, queries, official["whiten_p"], 17)
    with pytest.raises(DataError, match="shrinkage from 0"):
        learn_whitening_of_pairs(vectors, queries, official["whiten_p"], 4, 1.0)
    with pytest.raises(DataError, match="NaN"):
        learn_whitening_of_pairs(vectors * np.nan, queries, official["whiten_p"], 4)


@pytest.fixture
def published(official):
    random = np.random.default_rng(3)
    return {"m": official["whiten_m"], "P": random.standard_normal((16, 16))}


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_published_whitenings_are_taken_over(published, official, tmp_path, is_legacy, dtype):
    entry = {name: array.astype(dtype) for name, array in published.items()}
    torch.save(entry, tmp_path / "w.pth", _use_new_zipfile_serialization=not is_legacy)
    vectors = official["whiten_X"].T.astype(np.float32)
    expected = (vectors - published["m"].T) @ published["P"].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(read_published_whitening(tmp_path / "w.pth").apply(vectors), expected, atol=1e-5)


def test_a_file_of_numpy_1_is_read(published, tmp_path):
    torch.save(published, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    (tmp_path / "w.pth").write_bytes(old)
    assert read_published_whitening(tmp_path / "w.pth").weight.shape == (16, 16)


def test_one_of_several_whitenings_of_a_checkpoint_is_named(published, tmp_path):
    path = tmp_path / "network.pth"
    other = {**published, "P": published["P"][:4]}
    torch.save({"meta": {"Lw": {"set": {"ss": published, "ms": other}}}, "state_dict": {"a": torch.ones(1)}}, path)
    assert read_published_whitening(path, "set/ms").weight.shape == (4, 16)
    with pytest.raises(WeightsError, match="one of these names: set/ss, set/ms"):
        read_published_whitening(path)
    with pytest.raises(WeightsError, match="no whitening 'set/xs'"):
        read_published_whitening(path, "set/xs")


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_files_that_are_no_whitening_are_refused_and_never_executed(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    with pytest.raises(WeightsError, match="cannot be read"):
        read_published_whitening(path)
    for content in ({"m": Malicious(), "P": published["P"]}, {"m": 1, "P": np.array([Malicious()], dtype=object)}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"no torch file|finite numbers"):
            read_published_whitening(path)
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(WeightsError, match="no torch file"):
            read_published_whitening(path)
    assert not (tmp_path / "executed").exists()
    for content, message in [
        ({"a": torch.ones(1)}, "holds no whitening"),
        ([1], "holds no whitening"),
        ({"m": published["m"][:3], "P": published["P"]}, r"got \[3, 1\] and \[16, 16\]"),
        ({"m": published["m"] * np.nan, "P": published["P"]}, "finite numbers"),
        ({"meta": {"Lw": {"set": 1}}}, "holds no whitening"),
    ]:
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            read_published_whitening(path)
