"""`askew evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_training.cli.options import descriptor_folder
from askew_training.cli.terminal import name_unreadable, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.vectors.descriptor_cache import DescriptorCache


def evaluate(
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the gallery.")],
    manifest: Annotated[Path, typer.Option(help="A photo manifest with queries and galleries.")],
    benchmark: Annotated[list[str] | None, typer.Option(help="One of its benchmarks; repeatable; all.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report here, too.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where vectors are kept; ~/.cache/askew.")] = None,
) -> None:
    """Measure mAP: queries of one encoder on a gallery that another, or the same, described."""
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
            f"{queries} describes in space {query_encoder.space_id} and {gallery} in "
            f"{gallery_encoder.space_id}; expected two encoders of one space."
        )
    chosen = benchmark or benchmarks_in(photos)
    if not chosen:
        raise DataError(f"{manifest} has no query. Expected photos of role query and gallery.")
    unreadable: list[str] = []
    sides = [photos_of(photos, name, role) for name in chosen for role in ("query", "gallery")]
    with progress("describing", sum(map(len, sides))) as advance:
        measured = tuple(
            measure(
                photos,
                name,
                _describing(query_cache, advance, unreadable),
                _describing(gallery_cache, advance, unreadable),
            )
            for name in chosen
        )
    name_unreadable(unreadable)
    report = Report(
        query_encoder.manifest.encoder_id,
        gallery_encoder.manifest.encoder_id,
        gallery_encoder.space_id,
        measured,
    )
    Console().print(report.to_table())
    if json is not None:
        write_atomically(json, report.to_json().encode())


def _describing(
    cache: DescriptorCache, advance: Callable[[], None], unreadable: list[str]
) -> Callable[[Sequence[Path]], dict[Path, NDArray[np.float32]]]:
    def describe(paths: Sequence[Path]) -> dict[Path, NDArray[np.float32]]:
        described = cache.describe(paths, advance)
        unreadable.extend(described.unreadable)
        return described.vectors

    return describe
