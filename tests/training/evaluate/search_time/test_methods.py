"""What holds for every search-time method, and how they are named."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.errors import DataError
from askew_training.evaluate.search_time.method import Method
from askew_training.evaluate.search_time.registry import METHODS, default_methods, grid_of, parse_method
from tests.training.evaluate.search_time.vectors import GALLERY, OTHERS, QUERIES, nowhere

EVERY = (
    "plain",
    "alpha-qe:neighbours=3,alpha=1",
    "alpha-dba:neighbours=3,alpha=1",
    "alpha-dba-qe:neighbours=3,alpha=1",
    "k-reciprocal:neighbours=5,smoothed=2",
    "diffusion:neighbours=10",
    "diffusion:neighbours=10,depth=15",
    "truncation:dim=8",
    "truncation:dim=8,rotation=pca",
    "float16",
    "sq8",
    "pq:bytes=4",
)


@pytest.fixture(params=EVERY)
def method(request: pytest.FixtureRequest) -> Method:
    return parse_method(request.param)


def test_every_method_is_tried_here():
    assert {text.partition(":")[0] for text in EVERY} == set(METHODS)


def test_scores_of_a_query_do_not_depend_on_the_others_and_stay_in_range(method):
    ready = method.prepare(GALLERY, OTHERS)
    together = ready.score(QUERIES, nowhere(5))
    alone = np.concatenate([ready.score(query[None], nowhere(1)) for query in QUERIES])
    assert together.shape == (5, 40) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert np.abs(together).max() <= 1 + 1e-6
    assert 0 < ready.bytes_per_vector <= 4 * 16 + 8 * 39


PREPARED_ALONE = ("plain", "alpha-qe", "k-reciprocal", "diffusion:neighbours=10,depth=15", "truncation", "float16")
"""Methods that do not join the photos of a gallery before a query comes."""


@pytest.mark.parametrize("text", [text for text in EVERY if text.startswith(PREPARED_ALONE) and "pca" not in text])
@pytest.mark.parametrize("depth", [15, 200])
def test_a_querys_own_photos_in_the_gallery_change_no_score_of_the_others(text, depth):
    method = parse_method(text.replace("depth=15", f"depth={depth}"))
    query, own = GALLERY[7:8], [7, 20]
    gallery = GALLERY.copy()
    gallery[20] = gallery[7]  # The gallery lists the photo twice.
    others = np.delete(np.arange(40), own)
    with_own = method.prepare(gallery, OTHERS).score(query, np.array([own]))[0]
    without = method.prepare(gallery[others], OTHERS).score(query, nowhere(1))[0]
    np.testing.assert_allclose(with_own[others], without, atol=2e-6)


def test_a_gallery_that_is_the_query_alone_is_searched(method):
    scores = method.prepare(GALLERY[:1], OTHERS).score(GALLERY[:1], np.array([[0]]))
    assert scores.shape == (1, 1) and np.isfinite(scores).all()


def test_equal_photos_do_not_break_a_method(method):
    gallery = np.repeat(GALLERY[:4], 10, axis=0)
    scores = method.prepare(gallery, OTHERS).score(QUERIES, nowhere(5))
    assert np.isfinite(scores).all() and np.abs(scores).max() <= 1 + 1e-6


def test_the_gallery_is_not_changed(method):
    gallery = GALLERY.copy()
    method.prepare(gallery, OTHERS).score(QUERIES, nowhere(5))
    np.testing.assert_array_equal(gallery, GALLERY)


def test_a_gallery_of_one_photo_is_searched(method):
    scores = method.prepare(GALLERY[:1], OTHERS).score(QUERIES, nowhere(5))
    assert scores.shape == (5, 1) and np.isfinite(scores).all()


def test_a_title_is_read_back(method):
    assert parse_method(method.title) == method


def test_published_settings_and_grids_are_methods():
    assert {each.name for each in default_methods()} == set(METHODS)
    assert parse_method("alpha-qe").settings == {"neighbours": 10, "alpha": 3.0}
    assert len(grid_of(METHODS["alpha-qe"])) == 25
    assert [each.title for each in grid_of(METHODS["sq8"])] == ["sq8"]


NUMBERS = tuple(
    f"{name}:{setting}"
    for name, kind in METHODS.items()
    for setting, field in kind.model_fields.items()
    if field.annotation in {int, float}
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("beta-qe", "no search-time method 'beta-qe'. Known: plain, alpha-qe"),
        ("alpha-qe:3", "Expected a setting such as neighbours=3 after alpha-qe:, got '3'"),
        ("alpha-qe:neighbours=0", "greater than or equal to 1, at neighbours"),
        ("alpha-qe:neighbours=many", "does not fit alpha-qe"),
        ("alpha-qe:k=3", "Its settings: neighbours, alpha"),
        ("truncation:rotation=opq", "'none' or 'pca'"),
        ("diffusion:alpha=1", "less than 1"),
        ("alpha-qe:neighbours=1,neighbours=2", "names neighbours twice"),
        *(
            (f"{setting}={value}", "does not fit")
            for setting in NUMBERS
            for value in ("nan", "inf", "-1", "1" + "0" * 400)
        ),
    ],
)
def test_what_is_no_method_is_refused_with_what_was_expected(text, sentence):
    with pytest.raises(DataError, match=sentence):
        parse_method(text)
