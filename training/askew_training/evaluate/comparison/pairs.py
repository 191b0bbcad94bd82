"""Which query encoders can search which galleries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from askew_training.errors import DataError
from askew_training.evaluate.comparison.labels import encoder_labels
from askew_training.evaluate.comparison.record import Skipped
from askew_training.evaluate.measurement import Side


@dataclass(frozen=True)
class Pair:
    """A query encoder and a gallery encoder. `is_foreign`: they describe in two spaces."""

    queries: Side
    gallery: Side
    is_foreign: bool


def pairs_of(
    queries: Sequence[Side], galleries: Sequence[Side], allow_foreign_space: bool
) -> tuple[list[Pair], list[Skipped]]:
    """Pair every query encoder with every gallery encoder, by gallery; those that cannot be compared are skipped.

    With `allow_foreign_space`, pairs of two spaces are taken if their vectors have the same dimension. Raises DataError if no
    pair is left.
    """
    everyone = list({side.sha256: side for side in (*queries, *galleries)}.values())
    labels = dict(zip([side.sha256 for side in everyone], encoder_labels(everyone), strict=True))
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    for gallery in galleries:
        for query in queries:
            is_foreign = query.space_id != gallery.space_id
            if is_foreign and (query.dim != gallery.dim or not allow_foreign_space):
                reason = _reason(query, gallery, allow_foreign_space)
                skipped.append(Skipped(queries=labels[query.sha256], gallery=labels[gallery.sha256], reason=reason))
            else:
                pairs.append(Pair(query, gallery, is_foreign))
    if not pairs:
        first = skipped[0]
        raise DataError(
            f"No query encoder describes in the space of a gallery encoder: {first.queries} with {first.gallery}: "
            f"{first.reason}. Expected a student and its teacher, or one encoder for both."
            + ("" if allow_foreign_space else " To measure how badly two spaces fit, give --allow-foreign-space.")
        )
    return pairs, skipped


def _reason(query: Side, gallery: Side, allow_foreign_space: bool) -> str:
    if allow_foreign_space:
        return f"vectors of {query.dim} dimensions cannot be compared with vectors of {gallery.dim}"
    return f"the spaces differ, {query.space_id} and {gallery.space_id}"
