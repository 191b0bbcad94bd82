"""What was seen of the vectors of each pair, as records of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from askew_training.evaluate.comparison.gathering import Observed
from askew_training.evaluate.comparison.record import Alignment, LostQuery, ScoreDistribution


def distribution_record(row: int, observed: Observed) -> ScoreDistribution:
    """The scores of matches and non-matches of a row."""
    found = observed.distribution
    return ScoreDistribution(
        row=row,
        dataset=observed.measurement.dataset,
        matches=tuple(map(int, found.matches)),
        non_matches=tuple(map(int, found.non_matches)),
        mean_match=found.mean_match,
        mean_non_match=found.mean_non_match,
        separation=found.separation,
    )


def alignment_records(rows: Sequence[int], observed: Sequence[Observed]) -> tuple[Alignment, ...]:
    """The alignment of each asymmetric row, on each dataset. `rows` [n]: of what was observed."""
    return tuple(
        Alignment(
            row=row,
            dataset=each.measurement.dataset,
            photos=each.diagnosis.photos,
            mean_cosine=each.diagnosis.mean_cosine,
            low_cosine=each.diagnosis.low_cosine,
            overlap=each.diagnosis.overlap,
            order_flips=each.diagnosis.order_flips,
            flips_among=each.diagnosis.flips_among,
            lost_most=tuple(
                LostQuery(
                    id=loss.query.id,
                    instance=loss.query.instance,
                    set_name=loss.query.set_name,
                    gallery_average_precision=loss.teacher,
                    average_precision=loss.student,
                )
                for loss in each.lost
            ),
        )
        for row, each in zip(rows, observed, strict=True)
        if each.diagnosis is not None
    )
