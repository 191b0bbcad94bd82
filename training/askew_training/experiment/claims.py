"""Whether the results confirm what was claimed: by paired differences over instances, and by every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.statistics.differences import PairedDifference, compare_with
from askew_training.experiment.plan import ClaimTable, Kind

Verdict = Literal["confirmed", "contradicted", "inside the noise", "not measured"]

BySeed = Mapping[str, Sequence[Measurement]]
"""The measurements of one method on one dataset, one for each seed."""


class ClaimResult(BaseModel):
    """What the results on one dataset and protocol say about a claim.

    `difference`: of mean average precision, `method` minus `than`, as fractions, over the mean of the seeds. `low`, `high`: its interval of 95 %, corrected for all claims with
    the same comparison and dataset. `by_seed`: the difference of each seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sentence: str
    dataset: str
    protocol: str
    verdict: Verdict
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    by_seed: tuple[float, ...] = ()
    evidence: str = ""


def mean_of_seeds(measurements: Sequence[Measurement]) -> Measurement:
    """One measurement whose average precisions are the means over several, query by query.

    A query that one of them did not count is not counted.
    """
    first = measurements[0]
    by_id = [{each.id: each.average_precision for each in one.results} for one in measurements]
    results = []
    for result in first.results:
        values = [one.get(result.id) for one in by_id]
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if len(known) == len(values) else None
        results.append(result.model_copy(update={"average_precision": mean, "precision": {}, "first": ()}))
    return first.model_copy(update={"results": tuple(results)})


def judge_claims(
    claims: Sequence[ClaimTable], measured: Mapping[tuple[str, Kind], Mapping[tuple[str, str], Sequence[Measurement]]]
) -> list[ClaimResult]:
    """Judge each claim on each dataset and protocol.

    `measured`: by method and testing, then by dataset and protocol, a measurement for each seed. Differences of the
    claims with one baseline on one dataset are one family, over which p-values are corrected. A difference whose sign is
    not the same for every seed is inside the noise.
    """
    places = dict.fromkeys(place for each in measured.values() for place in each)
    results: list[ClaimResult] = []
    for place in places:
        differences = _differences(claims, measured, place)
        for number, claim in enumerate(claims):
            results.append(_result(claim, place, differences.get(number), _seeds(claim, measured, place)))
    order = {claim.sentence: number for number, claim in enumerate(claims)}
    return sorted(results, key=lambda each: order[each.sentence])


def _sides(claim: ClaimTable) -> tuple[tuple[str, Kind], tuple[str, Kind]]:
    return (claim.method, claim.testing), (claim.than, claim.than_testing or claim.testing)


def _differences(
    claims: Sequence[ClaimTable],
    measured: Mapping[tuple[str, Kind], Mapping[tuple[str, str], Sequence[Measurement]]],
    place: tuple[str, str],
) -> dict[int, PairedDifference]:
    """By the number of the claim."""
    families: dict[tuple[str, Kind], list[int]] = {}
    for number, claim in enumerate(claims):
        method, than = _sides(claim)
        if all(place in measured.get(side, {}) for side in (method, than)):
            families.setdefault(than, []).append(number)
    found: dict[int, PairedDifference] = {}
    for than, numbers in families.items():
        methods = [_sides(claims[number])[0] for number in numbers]
        compared = compare_with(
            mean_of_seeds(measured[than][place]),
            [mean_of_seeds(measured[method][place]) for method in methods],
            names=[_in_words(than), *map(_in_words, methods)],
        )
        found |= dict(zip(numbers, compared, strict=True))
    return found


def _seeds(
    claim: ClaimTable,
    measured: Mapping[tuple[str, Kind], Mapping[tuple[str, str], Sequence[Measurement]]],
    place: tuple[str, str],
) -> tuple[float, ...]:
    """The difference of each seed; a baseline with one measurement alone serves all seeds."""
    mine, theirs = (
        [each.mean_average_precision for each in measured.get(side, {}).get(place, ())] for side in _sides(claim)
    )
    if not mine or not theirs:
        return ()
    if len(theirs) == 1:
        theirs *= len(mine)
    return tuple(round(one - other, 6) for one, other in zip(mine, theirs, strict=False))


def _result(
    claim: ClaimTable, place: tuple[str, str], found: PairedDifference | None, by_seed: tuple[float, ...]
) -> ClaimResult:
    dataset, protocol = place
    if found is None:
        return ClaimResult(sentence=claim.sentence, dataset=dataset, protocol=protocol, verdict="not measured")
    verdict: Verdict = "inside the noise"
    evidence = found.sentence
    if found.verdict != "inside the noise":
        if len({value > 0 for value in by_seed}) == 1:
            verdict = "confirmed" if found.verdict == claim.relation else "contradicted"
        else:
            evidence += " The seeds disagree about its sign."
    interval = found.corrected_interval
    return ClaimResult(
        sentence=claim.sentence,
        dataset=dataset,
        protocol=protocol,
        verdict=verdict,
        difference=found.difference,
        low=interval and interval.low,
        high=interval and interval.high,
        p_value=found.corrected_p_value,
        by_seed=by_seed,
        evidence=evidence,
    )


def _in_words(side: tuple[str, Kind]) -> str:
    return f"{side[0]} ({side[1]})"
