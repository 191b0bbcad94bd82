"""Measurement files of earlier evaluations, and the files for those that are made."""

from __future__ import annotations

import tempfile
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


def measurement_path(folder: Path, measurement: Measurement) -> Path:
    """`DATASET.PROTOCOL.QUERIES.GALLERY.json`; the encoders by the first digits of their files' digests."""
    named = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in measurement.dataset) or "unnamed"
    pair = f"{measurement.queries.sha256[:8]}.{measurement.gallery.sha256[:8]}"
    return folder / f"{named}.{measurement.protocol}.{pair}.json"


def check_folder(folder: Path) -> None:
    """Make a folder that results will be written to. Raises DataError if they cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"Expected a folder to write to, but {folder} cannot be written to: {error.strerror}."
        ) from None
