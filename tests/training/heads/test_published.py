"""Published whitenings."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from askew_training.errors import WeightsError
from askew_training.heads import (
    read_published_whitening,
)
from tests.support.paths import TRAINING_FIXTURES

FIXTURES = TRAINING_FIXTURES


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    """Computed by the published code: vectors in columns, pairs, and Gram matrices of the whitened unit vectors."""
    return dict(np.load(FIXTURES / "whitening.npz"))


@pytest.fixture
def published(official):
    random = np.random.default_rng(3)
    return {"m": official["whiten_m"], "P": random.standard_normal((16, 16))}


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_published_whitenings_are_read(published, official, tmp_path, is_legacy, dtype):
    entry = {name: array.astype(dtype) for name, array in published.items()}
    torch.save(entry, tmp_path / "w.pth", _use_new_zipfile_serialization=not is_legacy)
    vectors = official["whiten_X"].T.astype(np.float32)
    expected = (vectors - published["m"].T) @ published["P"].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(
        read_published_whitening(tmp_path / "w.pth").whitening.apply(vectors), expected, atol=1e-5
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.long(),
    ],
)
def test_numbers_that_cannot_be_read_are_refused_in_a_sentence(published, tmp_path, spoil):
    torch.save({"m": published["m"], "P": spoil(torch.from_numpy(published["P"]))}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"of finite numbers, got \[16, 1\] and None"):
        read_published_whitening(tmp_path / "w.pth")


def test_whitenings_in_bfloat16_or_of_a_trained_layer_are_read(published, tmp_path):
    kinds = {"m": torch.from_numpy(published["m"]).bfloat16(), "P": nn.Parameter(torch.from_numpy(published["P"]))}
    torch.save(kinds, tmp_path / "w.pth")
    assert read_published_whitening(tmp_path / "w.pth").whitening.weight.shape == (16, 16)


def test_a_file_of_numpy_1_is_read(published, tmp_path):
    torch.save(published, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    (tmp_path / "w.pth").write_bytes(old)
    assert read_published_whitening(tmp_path / "w.pth").whitening.weight.shape == (16, 16)


def test_one_of_several_whitenings_is_chosen_by_name(published, tmp_path):
    path = tmp_path / "network.pth"
    other = {**published, "P": published["P"][:4]}
    torch.save({"meta": {"Lw": {"set": {"ss": published, "ms": other}}}, "state_dict": {"a": torch.ones(1)}}, path)
    assert read_published_whitening(path, "set/ms").whitening.weight.shape == (4, 16)
    with pytest.raises(WeightsError, match="one of these names: set/ss, set/ms"):
        read_published_whitening(path)
    with pytest.raises(WeightsError, match="no whitening 'set/xs'"):
        read_published_whitening(path, "set/xs")


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_files_that_are_not_whitenings_are_refused_and_never_executed(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    with pytest.raises(WeightsError, match="cannot be read"):
        read_published_whitening(path)
    for content in ({"m": Malicious(), "P": published["P"]}, {"m": 1, "P": np.array([Malicious()], dtype=object)}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"not a torch file|finite numbers"):
            read_published_whitening(path)
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(WeightsError, match="not a torch file"):
            read_published_whitening(path)
    assert not (tmp_path / "executed").exists()
    wrong: list[tuple[object, str]] = [
        ({"a": torch.ones(1)}, "holds no whitening"),
        ([1], "holds no whitening"),
        ({"m": published["m"][:3], "P": published["P"]}, r"got \[3, 1\] and \[16, 16\]"),
        ({"m": published["m"] * np.nan, "P": published["P"]}, "finite numbers"),
        ({"m": published["m"], "P": published["P"] * 0}, "no finite scale"),
        ({"m": published["m"], "P": published["P"] * 1e200}, "no finite scale"),
        ({"weight": torch.ones(3, 4), "bias": torch.ones(4)}, r"got \[3, 4\] and \[4\]"),
        ({"meta": {"Lw": {"set": 1}}}, "holds no whitening"),
    ]
    for other, message in wrong:
        torch.save(other, path)
        with pytest.raises(WeightsError, match=message):
            read_published_whitening(path)
