"""Measurement files of earlier evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from askew_training.errors import DataError
from askew_training.evaluate.measurement import Measurement, read_measurement


def read_measurements(places: Sequence[Path]) -> list[Measurement]:
    """Read measurement files, and all `*.json` of folders, sorted by name; each once.

    Raises DataError for a file that is not a measurement, and for a folder without any.
    """
    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(place.glob("*.json"))
            if not inside:
                raise DataError(f"Expected a folder of measurements (*.json), but {place} holds none.")
            paths += inside
        else:
            paths.append(place)
    return [read_measurement(path) for path in dict.fromkeys(paths)]
