"""How long the rest of an experiment takes."""

from __future__ import annotations


class Estimate:
    """Learns from the cells that were trained how long the others take, `jobs` of them at the same time."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._seconds, self._lengths = 0.0, 0.0

    def add(self, seconds: float, length: float) -> None:
        """A cell was trained. `length`: its steps, as a share of a whole training."""
        self._seconds += seconds
        self._lengths += length

    def in_words(self, cells: int, length: float) -> str:
        """The time that `cells` further cells take, with lengths that add up to `length`; "" if nothing is known."""
        if not cells or not self._lengths:
            return ""
        hours = self._seconds / self._lengths * length / min(self._jobs, cells) / 3600
        return f"; about {hours:.1f} h left for {cells} cell{'s' if cells > 1 else ''}"
