"""Fewer dimensions and fewer bytes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from askew_client.errors import EngineMissing
from askew_training.errors import DataError
from askew_training.evaluate.search_time.quantisation import HalfPrecision, ProductQuantisation, ScalarQuantisation
from askew_training.evaluate.search_time.truncation import Truncation
from tests.training.evaluate.search_time.vectors import GALLERY, NO_OTHERS, OTHERS, QUERIES, nowhere, unit_vectors


def scores_of(method, others=NO_OTHERS):
    return method.prepare(GALLERY, others).score(QUERIES, nowhere(5))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_first_dimensions_are_kept_on_both_sides_at_unit_length():
    np.testing.assert_allclose(scores_of(Truncation(dim=6)), unit(QUERIES[:, :6]) @ unit(GALLERY[:, :6]).T, atol=2e-6)
    assert Truncation(dim=6).prepare(GALLERY, NO_OTHERS).bytes_per_vector == 24


def test_all_turned_dimensions_keep_the_scores():
    np.testing.assert_allclose(scores_of(Truncation(dim=16, rotation="pca"), OTHERS), QUERIES @ GALLERY.T, atol=3e-6)


def test_a_rotation_puts_first_what_other_photos_vary_in():
    # All others lie in a plane that the first two dimensions do not span.
    plane = unit_vectors(2, 16, 9)
    others = unit(np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32) @ plane)
    ready = Truncation(dim=2, rotation="pca").prepare(others, others)
    np.testing.assert_allclose(ready.score(others, nowhere(50)), others @ others.T, atol=2e-5)


def test_too_few_photos_and_too_many_dimensions_are_refused():
    with pytest.raises(
        DataError, match="A rotation to 8 dimensions needs at least as many photos of role train, got 5"
    ):
        Truncation(dim=8, rotation="pca").prepare(GALLERY, OTHERS[:5])
    with pytest.raises(DataError, match="at most the 16 dimensions of the vectors, got 32"):
        Truncation(dim=32).prepare(GALLERY, NO_OTHERS)
    with pytest.raises(DataError, match="256 centroids need at least as many photos of role train, got 0"):
        ProductQuantisation(bytes=4).prepare(GALLERY, NO_OTHERS)
    with pytest.raises(DataError, match="256 centroids need at least as many gallery photos, got 40"):
        ProductQuantisation(bytes=4, learned_from="gallery").prepare(GALLERY, OTHERS)
    with pytest.raises(DataError, match="divides the 16 dimensions, got 5"):
        ProductQuantisation(bytes=5).prepare(GALLERY, OTHERS)


@pytest.mark.parametrize(("method", "size", "error"), [(HalfPrecision(), 32, 5e-4), (ScalarQuantisation(), 16, 0.01)])
def test_compressed_vectors_keep_the_scores_nearly(method, size, error):
    np.testing.assert_allclose(scores_of(method), QUERIES @ GALLERY.T, atol=error)
    assert method.prepare(GALLERY, NO_OTHERS).bytes_per_vector == size


def test_more_bytes_of_product_quantisation_lose_less(capfd):
    plain = QUERIES @ GALLERY.T
    errors = [np.abs(scores_of(ProductQuantisation(bytes=size), OTHERS) - plain).mean() for size in (1, 4, 16)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01
    assert capfd.readouterr() == ("", "")


def test_without_faiss_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EngineMissing, match=r"needed to quantise vectors\. Install one: pip install faiss-cpu"):
        ScalarQuantisation().prepare(GALLERY, NO_OTHERS)
