"""What results say about a claim."""

from __future__ import annotations

import numpy as np
import pytest

from askew_training.evaluate.measurement import Measurement, QueryResult, Side
from askew_training.experiment.claims import judge_claims, mean_of_seeds
from askew_training.experiment.plan import ClaimTable

SIDE = Side(encoder="s@1", sha256="0" * 64, space_id="sp1-" + "0" * 32, dim=2, photo_size=96, scales=(1.0,))
CLAIM = ClaimTable(sentence="a beats b", method="a", testing="symmetric", relation="better", than="b")


def measurement(values: list[float | None]) -> Measurement:
    results = tuple(
        QueryResult(id=str(i), instance=f"i{i}", set_name="x", positives=1, average_precision=value)
        for i, value in enumerate(values)
    )
    return Measurement(dataset="d", protocol="instances", queries=SIDE, gallery=SIDE, gallery_photos=9, results=results)


def seeds(mean: float, count: int = 3, spread: float = 0.1) -> list[Measurement]:
    random = np.random.default_rng(int(1000 * mean))
    return [measurement(list(np.clip(mean + spread * random.normal(size=30), 0, 1))) for _ in range(count)]


@pytest.mark.parametrize(
    ("mine", "theirs", "verdict"),
    [(0.7, 0.4, "confirmed"), (0.4, 0.7, "contradicted"), (0.5, 0.501, "inside the noise")],
)
def test_a_claim_is_confirmed_contradicted_or_inside_the_noise(mine: float, theirs: float, verdict: str) -> None:
    place = ("d", "instances")
    (result,) = judge_claims(
        [CLAIM], {("a", "symmetric"): {place: seeds(mine)}, ("b", "symmetric"): {place: seeds(theirs)}}
    )
    assert result.verdict == verdict
    assert result.difference == pytest.approx(mine - theirs, abs=0.05) and len(result.by_seed) == 3
    assert result.low is not None and result.high is not None and result.low < result.high


def test_a_difference_that_is_not_the_same_for_every_seed_is_inside_the_noise() -> None:
    place = ("d", "instances")
    mine = [*seeds(0.9, 2, 0.0), *seeds(0.3, 1, 0.0)]
    (result,) = judge_claims(
        [CLAIM], {("a", "symmetric"): {place: mine}, ("b", "symmetric"): {place: seeds(0.4, 3, 0.01)}}
    )
    assert result.verdict == "inside the noise" and "seeds disagree" in result.evidence


def test_a_claim_about_what_failed_is_not_measured() -> None:
    (result,) = judge_claims([CLAIM], {("b", "symmetric"): {("d", "instances"): seeds(0.4)}})
    assert result.verdict == "not measured"


def test_seeds_are_averaged_query_by_query() -> None:
    mean = mean_of_seeds([measurement([0.2, 1.0, None]), measurement([0.4, 0.0, None])])
    assert [each.average_precision for each in mean.results] == [pytest.approx(0.3), 0.5, None]
