"""Writing the measurements of one evaluation to files whose names tell them apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from askew_training.errors import DataError
from askew_training.evaluate.measurement import Measurement
from askew_training.evaluate.targets import check_file, check_folder


def measurement_paths(target: Path, measurements: Sequence[Measurement]) -> list[Path]:
    """The files for some measurements.

    `target` ends in `.json`: one measurement is written there, several as `NAME.DATASET.PROTOCOL.json` without what they have
    in common. Otherwise it is a folder for `DATASET.PROTOCOL.QUERIES-on-GALLERY.DIGEST.json`, whose digest is that of the
    encoder files and the settings: other encoders or settings are other files.
    """
    protocols = [each.protocol for each in measurements]
    if len({(each.dataset, each.protocol) for each in measurements}) < len(measurements):
        protocols = [f"{each.protocol}-{each.average_precision}" for each in measurements]
    names = [(_safe(each.dataset), part) for each, part in zip(measurements, protocols, strict=True)]
    if target.suffix != ".json":
        pairs = [f"{_safe(each.queries.encoder)}-on-{_safe(each.gallery.encoder)}" for each in measurements]
        return _distinct(
            target / f"{'.'.join(name)}.{pair}.{_digest(each)}.json"
            for name, pair, each in zip(names, pairs, measurements, strict=True)
        )
    varies = [len(set(values)) > 1 for values in zip(*names, strict=True)]
    stem = target.name.removesuffix(".json")
    return _distinct(
        target.with_name(
            ".".join([stem, *(part for part, is_told in zip(name, varies, strict=True) if is_told), "json"])
        )
        for name in names
    )


def check_target(target: Path) -> None:
    """Make the folder that measurements will be written to. Raises DataError if they cannot be: better now than after hours."""
    if target.suffix == ".json":
        check_file(target)
    else:
        check_folder(target)


def write_measurements(target: Path, measurements: Sequence[Measurement]) -> list[Path]:
    """Write measurements to `measurement_paths`; files that were there are replaced. Raises DataError."""
    paths = measurement_paths(target, measurements)
    try:
        for path, measurement in zip(paths, measurements, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            measurement.write(path)
    except OSError as error:
        raise DataError(f"The measurement cannot be written to {error.filename or target}: {error.strerror}.") from None
    return paths


def _digest(measurement: Measurement) -> str:
    told = [measurement.queries.sha256, measurement.gallery.sha256, sorted(measurement.settings.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


def _distinct(paths: Iterable[Path]) -> list[Path]:
    """Two benchmarks whose names differ only in signs that no file name should have get numbers."""
    seen: Counter[Path] = Counter()
    distinct = []
    for path in paths:
        seen[path] += 1
        distinct.append(path if seen[path] == 1 else path.with_name(f"{path.stem}.{seen[path]}.json"))
    return distinct


def _safe(name: str) -> str:
    """A name of a manifest's benchmark as part of a file's name."""
    return "".join(sign if sign.isalnum() or sign in "-_@" else "_" for sign in name) or "unnamed"
