"""Measurements for tests, from the average precisions of their queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from askew_training.evaluate.measurement import Found, Measurement, QueryResult, Side

SPACE = "sp1-" + "1" * 32


def side(name: str, *, space: str = SPACE, dim: int = 64) -> Side:
    """An encoder side named `name@1`, whose digest is made of its name."""
    return Side(
        encoder=f"{name}@1",
        sha256=name.encode().hex().ljust(64, "0"),
        space_id=space,
        dim=dim,
        photo_size=128,
        scales=(1.0,),
    )


def measurement(
    precisions: Mapping[str, Sequence[float | None]],
    *,
    queries: str = "student",
    gallery: str = "teacher",
    dataset: str = "walls",
    protocol: str = "instances",
    sets: Mapping[str, str] | None = None,
) -> Measurement:
    """A measurement with the average precisions of the queries of each instance. `sets`: of an instance, if not `north`."""
    return Measurement(
        dataset=dataset,
        protocol=protocol,
        queries=side(queries),
        gallery=side(gallery),
        gallery_photos=20,
        results=tuple(
            QueryResult(
                id=f"{instance}/{i}.jpg",
                instance=instance,
                set_name=(sets or {}).get(instance, "north"),
                positives=0 if value is None else 2,
                average_precision=value,
                precision={} if value is None else {1: float(value == 1)},
                first=(Found(id="a.jpg", score=0.5, relevance="right"),),
            )
            for instance, values in precisions.items()
            for i, value in enumerate(values)
        ),
    )
