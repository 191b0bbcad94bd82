"""`askew evaluate-revisited`: measure a pair of encoders on revisited Oxford or Paris."""

from __future__ import annotations

from enum import Enum
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
    from askew_client import Encoder
    from askew_training.vectors.vector_blocks import VectorBlocks


class Dataset(Enum):
    """A dataset of the benchmark."""

    roxford5k = "roxford5k"
    rparis6k = "rparis6k"


@stopped_by_sigterm()
def evaluate_revisited(
    dataset: Annotated[Dataset, typer.Option(help="Revisited Oxford or Paris.")],
    root: Annotated[Path, typer.Option(help="The folder with DATASET/gnd_DATASET.pkl (or .json) and DATASET/jpg.")],
    queries: Annotated[Path, typer.Option(help="The encoder that describes the queries.")],
    gallery: Annotated[Path, typer.Option(help="The encoder that describes the gallery.")],
    distractors: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            help="A name, such as revisitop1m, and the distractors: a folder of photos, a folder that `askew cache` filled or a "
            "folder of those, a .npy file, or a folder of those."
        ),
    ] = None,
    crop: Annotated[bool, typer.Option(help="Cut the queries' boxes, as the benchmark demands.")] = True,
    allow_foreign_space: Annotated[
        bool, typer.Option("--allow-foreign-space", help="Measure encoders of two spaces; the result is marked.")
    ] = False,
    first: Annotated[int, typer.Option(min=0, help="How many photos at the head of each ranking are written.")] = 10,
    measurements: Annotated[
        Path | None, typer.Option(help="Also write each protocol as a measurement: NAME.json or a folder.")
    ] = None,
    report: ReportFile = None,
    embed: Embed = False,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
) -> None:
    """Measure mAP and mP@k of one encoder's queries on a gallery described by another encoder, or the same, by the protocols
    easy, medium and hard of revisited Oxford and Paris."""
    from askew_training.data.crops import Crop
    from askew_training.evaluate.measurement_files import check_target
    from askew_training.evaluate.measurement_table import measurement_table
    from askew_training.evaluate.revisited.ground_truth import find_ground_truth, read_ground_truth
    from askew_training.evaluate.revisited.measuring import PRECISION_AT, Conditions, Distractors, measure_revisited
    from askew_training.evaluate.revisited.photo_files import find_photos
    from askew_training.evaluate.sides import check_one_space, side_of
    from askew_training.export.shrinking import shrink
    from askew_training.vectors.descriptor_cache import DescriptorCache

    if measurements is not None:
        check_target(measurements)
    check_page(report, embed)
    check_no_input("--report", report, (queries, gallery))
    truth = read_ground_truth(find_ground_truth(root, dataset.value))
    files = find_photos(root, dataset.value, truth)
    folder = descriptor_folder(cache)
    query_cache, gallery_cache = (DescriptorCache(folder, file) for file in (queries, gallery))
    is_foreign = check_one_space(query_cache.encoder, gallery_cache.encoder, allow_foreign_space)
    intake = Intake()
    left_out = LeftOut(intake)
    # Before hours of describing: what is wrong with the distractors is found at once.
    blocks = None if distractors is None else _distractors(distractors[1], gallery_cache.encoder, folder, intake)
    names = [query.name for query in truth.queries]
    paths = [files[name] for name in names]
    dim = gallery_cache.encoder.manifest.dim
    if crop:
        crops = [Crop(path, query.box) for path, query in zip(paths, truth.queries, strict=True)]
        query_rows = describe_rows(
            Wanted("queries", names, crops, paths),
            dim,
            lambda wanted, advance: query_cache.describe_crops(wanted, shrink, advance),
            left_out,
        )
    else:
        query_rows = describe_rows(Wanted("queries", names, paths, paths), dim, query_cache.describe, left_out)
    gallery_paths = [files[name] for name in truth.images]
    gallery_rows = describe_rows(
        Wanted("gallery", truth.images, gallery_paths, gallery_paths), dim, gallery_cache.describe, left_out
    )
    settings: dict[str, str | float | bool] = {"crop": crop, "scores": "unrounded"}
    if is_foreign:
        settings["foreign_space"] = True
    if distractors is not None and blocks is not None:
        settings |= {"distractor_set": distractors[0], "distractor_vectors": blocks.origin}
        for name in blocks.unreadable:
            intake.skip(name, f"distractors: {distractors[0]} without a vector")
    measured = measure_revisited(
        truth,
        query_rows,
        gallery_rows,
        Conditions(
            dataset.value if distractors is None else f"{dataset.value}+{distractors[0]}",
            side_of(query_cache.encoder),
            side_of(gallery_cache.encoder),
            settings,
            excluded(left_out),
        ),
        None if blocks is None else Distractors(blocks, blocks.ids, blocks.unreadable),
        first,
    )
    print_table(measurement_table(measured, PRECISION_AT))
    write_and_name(measurements, measured)
    # Distractors are found by their names, which are paths below their folder, or begin with the folder's own name.
    beside = [] if distractors is None else [distractors[1], distractors[1].resolve().parent]
    write_page(report, embed, measured, {measured[0].dataset: files}, beside)
    finish(intake, "", {}, False)


def _distractors(path: Path, encoder: Encoder, folder: Path, intake: Intake) -> VectorBlocks:
    from askew_training.evaluate.revisited.photo_files import distractor_photos
    from askew_training.vectors.vector_blocks import holds_vectors, open_blocks

    if holds_vectors(path):
        return open_blocks(path, encoder.manifest.dim, encoder.space_id, encoder.file.sha256)
    return described_folder(encoder, distractor_photos(path, intake), folder, "distractors", encoder.space_id)
