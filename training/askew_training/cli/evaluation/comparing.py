"""What `askew compare` measures: pairs of encoders on the benchmarks of manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import describe_views
from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import progress
from askew_training.data.photo_sets import Photo, read_manifest
from askew_training.errors import DataError
from askew_training.evaluate.benchmark import View, benchmarks_in
from askew_training.evaluate.comparison.gathering import ALONE, Benchmark, Describe, Observed, observe
from askew_training.evaluate.comparison.pairs import Pair, pairs_of
from askew_training.evaluate.comparison.record import Skipped
from askew_training.evaluate.measurement import Measurement, Side
from askew_training.evaluate.sides import side_of
from askew_training.vectors.descriptor_cache import DescriptorCache


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and nothing is described yet.

    `benchmarks`: the photos and the name of each. `announced`: the measurements that will come of it, without results.
    """

    benchmarks: Sequence[tuple[Sequence[Photo], str]] = ()
    pairs: Sequence[Pair] = ()
    skipped: Sequence[Skipped] = ()
    announced: Sequence[Measurement] = ()
    describe: Describe = lambda *_: {}


def plan(
    queries: Sequence[Path],
    galleries: Sequence[Path],
    manifests: Sequence[Path],
    benchmarks: Sequence[str] | None,
    allow_foreign_space: bool,
    cache: Path | None,
    intake: Intake,
) -> Plan:
    """Plan every pair on every chosen benchmark; pairs of two spaces are skipped, and named. Raises DataError for whatever
    can be known to fail before photos are described."""
    if not manifests:
        return Plan()
    folder = descriptor_folder(cache)
    opened = {path: DescriptorCache(folder, path) for path in dict.fromkeys((*queries, *galleries))}
    caches = {each.encoder.file.sha256: each for each in opened.values()}
    # The same file under two names is one encoder.
    sides = [
        list({side.sha256: side for side in (side_of(opened[path].encoder) for path in paths)}.values())
        for paths in (queries, galleries)
    ]
    pairs, skipped = pairs_of(sides[0], sides[1], allow_foreign_space)
    for each in skipped:
        typer.echo(f"askew: not compared: {each.queries} → {each.gallery}: {each.reason}.", err=True)
    chosen = _benchmarks(manifests, benchmarks, intake)
    describe = _make_describe(caches, intake)
    looked_at = [Benchmark(photos, name, describe) for photos, name in chosen]
    announced = [measurement for each in looked_at for pair in pairs for measurement in each.announce(pair)]
    return Plan(chosen, pairs, skipped, announced, describe)


def measure(planned: Plan, intake: Intake) -> list[Observed]:
    """Measure what was planned."""
    observed: list[Observed] = []
    for photos, name in planned.benchmarks:
        # Made here, so that the vectors of one benchmark at a time are in memory.
        found = observe(Benchmark(photos, name, planned.describe), planned.pairs)
        for alone in {alone: None for each in found[0].measurements for alone in each.excluded.get(ALONE, ())}:
            intake.not_matched(alone, "queries that show what no other photo of their gallery does")
        observed += found
    return observed


def _benchmarks(
    manifests: Sequence[Path], wanted: Sequence[str] | None, intake: Intake
) -> list[tuple[Sequence[Photo], str]]:
    """The photos and the name of each benchmark that is to be measured."""
    found: dict[str, tuple[Path, Sequence[Photo]]] = {}
    for manifest in manifests:
        photos = read_manifest(manifest, intake)
        for name in benchmarks_in(photos):
            if name in found and (wanted is None or name in wanted):
                raise DataError(
                    f"{found[name][0]} and {manifest} both have a benchmark {name!r}. Expected another name in each."
                )
            found[name] = manifest, photos
    known = ", ".join(found) or "none"
    for name in wanted or []:
        if name not in found:
            raise DataError(f"The benchmark {name!r} has no query photo. The manifests have these benchmarks: {known}.")
    if not found:
        raise DataError(f"{manifests[0]} has no query. Expected photos with the roles query and gallery.")
    return [(found[name][1], name) for name in dict.fromkeys(wanted or found)]


def _make_describe(caches: dict[str, DescriptorCache], intake: Intake) -> Describe:
    counted: set[View] = set()

    def describe(side: Side, role: str, views: Sequence[View]) -> dict[View, NDArray[np.float32]]:
        with progress(f"{side.encoder}, {role}", len(views)) as advance:
            vectors, unreadable = describe_views(caches[side.sha256], views, advance)
        for view, sentence in unreadable.items():
            path = view if isinstance(view, Path) else view.path
            intake.skip(f"{path}, {side.encoder}", "cannot be described", sentence)
        intake.taken += len(vectors.keys() - counted)
        counted.update(vectors)
        return vectors

    return describe
