"""The commands of askew-training. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_training.cli.options import descriptor_folder, parsed_scales
from askew_training.cli.terminal import name_unreadable, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.vectors.descriptor_cache import DescriptorCache


class Precision(Enum):
    """How weights are stored; the arithmetic is float32 either way."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Role(Enum):
    """What an encoder describes: a teacher galleries, a student queries."""

    teacher = "teacher"
    student = "student"


def distil(
    teacher: Annotated[Path, typer.Argument(help="The teacher's checkpoint.")],
    output: Annotated[Path, typer.Argument(help="The student's checkpoint to write.")],
    licences: Annotated[Path, typer.Option(help="TOML file: the licence of each set of photos.")],
    learn_size: Annotated[int, typer.Option(min=96, help="Longest side that the student learns at.")],
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is used.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    photo_size: Annotated[int, typer.Option(min=96, help="Longest side that it will describe at.")] = 224,
    ridge: Annotated[float, typer.Option(help="How strongly the teacher's own layer is kept.")] = 1e-3,
    cache: Annotated[Path | None, typer.Option(help="Where vectors are kept; ~/.cache/askew.")] = None,
) -> None:
    """Make a student: the teacher's trunk at one scale, its linear layer refitted to the teacher's vectors.

    Learn at about half the teacher's size of these photos, so that the student meets the gap that it will have to
    bridge: photos of 256 px are described by a teacher of 448 px at 256, and learned by its student at 128.
    """
    import numpy as np

    from askew_training.data.photo_sets import read_licences, sources_of, training_photos
    from askew_training.errors import CheckpointError
    from askew_training.heads import apply_linear
    from askew_training.heads.ridge import refit_linear
    from askew_training.networks.checkpoint import Checkpoint, Description, load_checkpoint, save_checkpoint
    from askew_training.networks.network import Network
    from askew_training.vectors.pooled import describe_pooled

    source = load_checkpoint(teacher)
    if source.network.linear is None:
        raise CheckpointError(f"{teacher} has no linear layer to start from. Expected one made by `askew whiten`.")
    chosen = training_photos(manifest, photos or [])
    stated = read_licences(licences)
    sources_of(chosen, stated)
    paths = [photo.path for photo in chosen]
    student = Network(source.network.branches, source.network.linear, (1.0,)).eval()
    with progress("describing", 2 * len(paths)) as advance:
        size = source.description.photo_size
        by_teacher = describe_pooled(source.network, size, paths, descriptor_folder(cache), advance)
        by_student = describe_pooled(student, learn_size, paths, descriptor_folder(cache), advance)
    name_unreadable(sorted({*by_teacher.unreadable, *by_student.unreadable}))
    used = [p for p in chosen if p.path in by_teacher.vectors and p.path in by_student.vectors]
    targets = apply_linear(source.network.linear, np.stack([by_teacher.vectors[photo.path] for photo in used]))
    pooled = np.stack([by_student.vectors[photo.path] for photo in used])
    student.linear = refit_linear(source.network.linear, pooled, targets, ridge)
    description = Description(
        branches=source.description.branches,
        dim=student.dim,
        photo_size=photo_size,
        scales=student.scales,
        recipe=f"{source.description.recipe}; linear layer refitted to the teacher's vectors at {learn_size} px "
        f"with ridge {ridge:g}",
        data=sources_of(used, stated),
        teacher_space=source.space_id,
    )
    save_checkpoint(output, Checkpoint(student, description))
    Console().print(f"{output}: {len(used)} photos, space {source.space_id}")


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A network's checkpoint.")],
    output: Annotated[Path, typer.Argument(help="The encoder file (.onnx) to write.")],
    role: Annotated[Role, typer.Option(help="What it will describe.")],
    name: Annotated[str, typer.Option(help="The encoder's name, such as lite0-teacher.")],
    version: Annotated[str, typer.Option(help="Its version, such as 1.")],
    licence: Annotated[str, typer.Option(help="Under which licence the encoder is given on.")],
    photo_size: Annotated[int | None, typer.Option(min=96, help="Longest side; the checkpoint's own.")] = None,
    scales: Annotated[str | None, typer.Option(help="As for whiten; the checkpoint's own.")] = None,
    precision: Annotated[Precision, typer.Option(help="How weights are stored.")] = Precision.fp32,
    metrics: Annotated[list[Path] | None, typer.Option(help="A report of `askew evaluate --json`.")] = None,
) -> None:
    """Export a checkpoint as one self-describing encoder file, unless it differs from the network."""
    from askew_training.evaluate.report import manifest_metrics
    from askew_training.export.write import EncoderCard, write_encoder
    from askew_training.networks.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    card = EncoderCard(
        name=name,
        version=version,
        role=role.value,
        photo_size=photo_size or loaded.description.photo_size,
        scales=parsed_scales(scales) if scales else loaded.description.scales,
        precision=precision.value,
        licence=licence,
        metrics=manifest_metrics(metrics or []),
    )
    report = write_encoder(loaded, card, output)
    Console().print(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, space {loaded.space_id}; on {report.photos} photos "
        f"at most {report.cosine_distance:.1e} in cosine distance from torch and {report.grey_levels:.2f} "
        "grey levels from Pillow"
    )


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
