"""Measurements compared with a baseline, query by query, and what the differences are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from askew_training.evaluate.measurement import Measurement, paired
from askew_training.evaluate.statistics.holm import holm, holm_confidences
from askew_training.evaluate.statistics.intervals import RESAMPLES, Interval, interval_of_draws
from askew_training.evaluate.statistics.resampling import ByInstance, by_instance, resampled_means
from askew_training.evaluate.statistics.sign_flips import sign_flip_p_value

Verdict = Literal["better", "worse", "inside the noise"]


@dataclass(frozen=True)
class PairedDifference:
    """How much better than the baseline a measurement is, over the queries that both counted; a fraction, not per cent.

    `interval`: at the confidence asked for. `corrected_interval`: at the one that Holm's correction asks for; both None if
    the queries show one instance only. `corrected_p_value`: by Holm. `sentence`: the verdict in words.
    """

    difference: float
    interval: Interval | None
    corrected_interval: Interval | None
    p_value: float
    corrected_p_value: float
    queries: int
    instances: int
    verdict: Verdict
    sentence: str


def compare_with(
    baseline: Measurement,
    others: Sequence[Measurement],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[PairedDifference]:
    """Compare each of `others` with the baseline; together they are one family, over which p-values are corrected.

    A difference is `better` or `worse` if its corrected p-value is at most 1 − `confidence` and its corrected interval
    does not contain 0; otherwise it is `inside the noise`. `names`: of the baseline and of the others, for the sentences;
    by default those of the query encoders. Raises DataError for measurements of other datasets or protocols.
    """
    called = list(names) if names is not None else [each.queries.encoder for each in (baseline, *others)]
    pairs = [paired(other, baseline) for other in others]
    families = [by_instance(mine - theirs, instances) for mine, theirs, instances in pairs]
    p_values = [
        sign_flip_p_value(grouped.sums, resamples, seed) if len(grouped.sums) > 1 else 1.0 for grouped in families
    ]
    corrected = holm(p_values)
    confidences = holm_confidences(p_values, confidence)
    return [
        _judge(
            grouped,
            (p, float(corrected[i])),
            (confidence, float(confidences[i])),
            resamples,
            seed,
            (called[i + 1], called[0]),
            len(others),
        )
        for i, (grouped, p) in enumerate(zip(families, p_values, strict=True))
    ]


def _judge(
    grouped: ByInstance,
    p_values: tuple[float, float],
    confidences: tuple[float, float],
    resamples: int,
    seed: int,
    names: tuple[str, str],
    family: int,
) -> PairedDifference:
    """`p_values`, `confidences`: plain and corrected. `names`: of the measurement and of the baseline."""
    instances, difference = len(grouped.sums), grouped.mean
    interval = corrected = None
    if instances > 1:
        draws = resampled_means(grouped, resamples, seed)
        interval, corrected = (interval_of_draws(draws, instances, each) for each in confidences)
    verdict: Verdict = "inside the noise"
    if corrected is not None and 0 not in corrected and p_values[1] <= 1 - confidences[0] + 1e-12:
        verdict = "better" if difference > 0 else "worse"
    return PairedDifference(
        difference=difference,
        interval=interval,
        corrected_interval=corrected,
        p_value=p_values[0],
        corrected_p_value=p_values[1],
        queries=int(grouped.counts.sum()),
        instances=instances,
        verdict=verdict,
        sentence=_sentence(verdict, difference, corrected, p_values[1], names, instances, family),
    )


def _sentence(
    verdict: Verdict,
    difference: float,
    corrected: Interval | None,
    p_value: float,
    names: tuple[str, str],
    instances: int,
    family: int,
) -> str:
    name, baseline = names
    if corrected is None:
        return f"{name} and {baseline} cannot be compared: all queries show one instance, which says nothing of others."
    among = "" if family == 1 else f", corrected for {family} comparisons"
    evidence = f"interval {100 * corrected.low:+.1f} to {100 * corrected.high:+.1f}, p = {p_value:.2g}{among}, {instances} instances"
    if verdict == "inside the noise":
        return f"{name} and {baseline} differ by {100 * difference:+.1f} points, inside the noise ({evidence})."
    return f"{name} is {verdict} than {baseline} by {100 * abs(difference):.1f} points ({evidence})."
