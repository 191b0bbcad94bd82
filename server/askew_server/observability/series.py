"""The series of one metric, by the values of their labels."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

Kind = TypeVar("Kind", Counter, Histogram)


class Series(Generic[Kind]):
    """One metric. May be used from any thread.

    It keeps each series that was asked for: prometheus_client's own look-up takes longer than counting, and a search
    counts in nine series.
    """

    def __init__(self, metric: Kind) -> None:
        self._metric: Kind = metric
        self._known: dict[tuple[str, ...], Kind] = {}

    def of(self, *labels: str) -> Kind:
        """The series with these values of its labels, in their order. It is made if there is none."""
        found = self._known.get(labels)
        if found is None:
            found = self._known[labels] = self._metric.labels(*labels)
        return found

    def forget_other_galleries(self, known: set[str]) -> None:
        """Drop the series of galleries that are not `known`."""
        names = {sample.labels["gallery"] for family in self._metric.collect() for sample in family.samples}
        for name in names - known:
            self._metric.remove_by_labels({"gallery": name})
            # Copied first: another thread may add a series meanwhile. A gallery of that name may be made again, and then
            # needs a series that is shown.
            for labels in [*self._known]:
                if name in labels:
                    self._known.pop(labels, None)
