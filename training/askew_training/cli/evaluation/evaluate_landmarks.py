"""`askew evaluate-landmarks`: measure a pair of encoders on Google Landmarks v2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.evaluation.describing import (
    LeftOut,
    Wanted,
    describe_rows,
    described_folder,
    excluded,
    write_and_name,
)
from askew_training.cli.evaluation.page import Embed, ReportFile, check_page, write_page
from askew_training.cli.options import descriptor_folder
from askew_training.cli.outputs import check_no_input
from askew_training.cli.terminal import finish, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence


@stopped_by_sigterm()
def evaluate_landmarks(
    root: Annotated[
        Path,
        typer.Option(help="The folder with index.csv, retrieval_solution_v2.1.csv and the folders index and test."),
    ],
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the index.")],
    allow_foreign_space: Annotated[
        bool, typer.Option("--allow-foreign-space", help="Measure encoders of two spaces; the result is marked.")
    ] = False,
    first: Annotated[int, typer.Option(min=0, help="How many photos at the head of each ranking are written.")] = 10,
    measurements: Annotated[
        Path | None, typer.Option(help="Also write each part as a measurement: NAME.json or a folder.")
    ] = None,
    report: ReportFile = None,
    embed: Embed = False,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure mAP@100 of one encoder's queries on the index of Google Landmarks v2 described by another encoder, or the same,
    for the queries Public and Private separately."""
    from askew_training.data.photo_sets import Photo
    from askew_training.errors import DataError
    from askew_training.evaluate.landmarks.measuring import (
        DATASET,
        LOST_POSITIVES,
        NO_POSITIVES,
        PRECISION_AT,
        Conditions,
        measure_landmarks,
    )
    from askew_training.evaluate.landmarks.solution import INDEX, find_solution, image_path, read_index, read_solution
    from askew_training.evaluate.measurement_files import check_target
    from askew_training.evaluate.measurement_table import measurement_table
    from askew_training.evaluate.sides import check_one_space, side_of
    from askew_training.vectors.descriptor_cache import DescriptorCache

    if measurements is not None:
        check_target(measurements)
    check_page(report, embed)
    check_no_input("--report", report, (queries, gallery))
    solution = read_solution(find_solution(root))
    index = read_index(root / INDEX)
    folder = descriptor_folder(cache)
    query_cache, gallery_cache = (DescriptorCache(folder, file) for file in (queries, gallery))
    is_foreign = check_one_space(query_cache.encoder, gallery_cache.encoder, allow_foreign_space)
    left_out = LeftOut(Intake())
    for query in solution.ignored:
        left_out.intake.leave_out(query, "queries of Usage Ignored")
    asked = _fetched([query.id for query in solution.queries], root / "test", "queries", left_out)
    here = _fetched(index, root / "index", "index", left_out)
    for name, fetched in (("test", asked), ("index", here)):
        if not fetched:
            example = (solution.queries[0].id if name == "test" else index[0], root / name)
            raise DataError(
                f"None of the images of {name} is in {root / name}, such as {image_path(example[1], example[0])}. Expected the "
                "folders of Google Landmarks v2."
            )
    chosen = [query for query in solution.queries if query.id in asked]
    paths = [image_path(root / "test", query.id) for query in chosen]
    names = [query.id for query in chosen]
    rows = describe_rows(
        Wanted("queries", names, paths, paths), query_cache.encoder.manifest.dim, query_cache.describe, left_out
    )
    photos = [Photo(image_path(root / "index", image), "", "gallery", DATASET, DATASET, image) for image in here]
    blocks = described_folder(gallery_cache.encoder, photos, folder, f"{DATASET}-index", gallery_cache.encoder.space_id)
    for image in blocks.unreadable:
        left_out.add("index", image, "images that cannot be described")
    left_out.intake.taken += len(blocks)
    measured = measure_landmarks(
        chosen,
        rows,
        blocks.ids,
        blocks,
        Conditions(
            side_of(query_cache.encoder),
            side_of(gallery_cache.encoder),
            {"scores": "unrounded", **({"foreign_space": True} if is_foreign else {})},
            excluded(left_out),
        ),
        first,
    )
    for each in measured:
        for reason in (NO_POSITIVES, LOST_POSITIVES):
            for image in each.excluded.get(reason, ()):
                left_out.intake.leave_out(image, reason)
    print_table(measurement_table(measured, PRECISION_AT))
    write_and_name(measurements, measured)
    files = {query.id: path for query, path in zip(chosen, paths, strict=True)} | {
        each.id: each.path for each in photos
    }
    write_page(report, embed, measured, {DATASET: files})
    finish(left_out.intake, "", {}, False)


def _fetched(images: Sequence[str], folder: Path, role: str, left_out: LeftOut) -> dict[str, None]:
    """Those that are in the folder. Few have all of this set: the others are left out and named."""
    from askew_training.evaluate.landmarks.solution import image_path

    reason = f"{role}: images that were not fetched"
    here: dict[str, None] = {}
    for image in images:
        if image_path(folder, image).is_file():
            here[image] = None
        else:
            left_out.by_reason.setdefault(reason, []).append(image)
            left_out.intake.leave_out(image, reason)
    return here
