"""The series of a metric are found again, and forgotten with their gallery."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from askew_server.observability.series import Series


def _values(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["gallery"], sample.labels["outcome"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_a_gallery_that_is_made_again_counts_from_zero_in_a_series_that_is_shown() -> None:
    registry = CollectorRegistry()
    searches = Series(Counter("searches", "Searches.", ("gallery", "outcome"), registry=registry))
    searches.of("museum", "ok").inc()
    searches.of("museum", "ok").inc()
    searches.of("city", "ok").inc()
    assert _values(registry) == {("museum", "ok"): 2, ("city", "ok"): 1}

    searches.forget_other_galleries({"city"})
    assert _values(registry) == {("city", "ok"): 1}

    searches.of("museum", "ok").inc()
    searches.of("city", "ok").inc()
    assert _values(registry) == {("museum", "ok"): 1, ("city", "ok"): 2}
