"""`askew evaluate`: measure a pair of encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import print_skipped, progress, stopped_by_sigterm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.vectors.descriptor_cache import DescriptorCache


@stopped_by_sigterm()
def evaluate(
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the gallery.")],
    manifest: Annotated[Path, typer.Option(help="A photo manifest with queries and galleries.")],
    benchmark: Annotated[
        list[str] | None, typer.Option(help="One of its benchmarks; repeatable; default: all.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure the mAP of one encoder's queries on a gallery described by another encoder, or the same."""
    from askew_client.files import write_atomically
    from askew_training.data.photo_sets import read_manifest
    from askew_training.errors import DataError
    from askew_training.evaluate.benchmark import benchmarks_in, measure, photos_of
    from askew_training.evaluate.report import Report
    from askew_training.vectors.descriptor_cache import DescriptorCache

    photos = read_manifest(manifest)
    query_cache, gallery_cache = (DescriptorCache(descriptor_folder(cache), file) for file in (queries, gallery))
    query_encoder, gallery_encoder = query_cache.encoder, gallery_cache.encoder
    if query_encoder.space_id != gallery_encoder.space_id:
        raise DataError(
            f"{queries} describes in space {query_encoder.space_id}, and {gallery} in space "
            f"{gallery_encoder.space_id}. Expected two encoders of one space."
        )
    chosen = benchmark or benchmarks_in(photos)
    if not chosen:
        raise DataError(f"{manifest} has no query. Expected photos with the roles query and gallery.")
    unreadable: list[str] = []
    sides = [photos_of(photos, name, role) for name in chosen for role in ("query", "gallery")]
    with progress("describing", sum(map(len, sides))) as advance:
        measured = tuple(
            measure(
                photos,
                name,
                _make_describe(query_cache, advance, unreadable),
                _make_describe(gallery_cache, advance, unreadable),
            )
            for name in chosen
        )
    print_skipped(unreadable)
    report = Report(
        query_encoder.manifest.encoder_id,
        gallery_encoder.manifest.encoder_id,
        gallery_encoder.space_id,
        measured,
    )
    Console().print(report.to_table())
    if json is not None:
        write_atomically(json, report.to_json().encode())


def _make_describe(
    cache: DescriptorCache, advance: Callable[[], None], unreadable: list[str]
) -> Callable[[Sequence[Path]], dict[Path, NDArray[np.float32]]]:
    def describe(paths: Sequence[Path]) -> dict[Path, NDArray[np.float32]]:
        described = cache.describe(paths, advance)
        unreadable.extend(described.unreadable)
        return described.vectors

    return describe
