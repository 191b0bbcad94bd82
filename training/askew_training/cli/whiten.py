"""`askew whiten`: give a network the linear layer that makes it a good teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import LARGEST_PHOTO_SIZE, descriptor_folder, parse_scales
from askew_training.cli.outputs import check_checkpoint, check_no_input
from askew_training.cli.terminal import AsJson, finish, progress
from askew_training.cli.whitening_start import Start, start_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.data.licences import PhotoSource
    from askew_training.data.pairs import PairedPhotos
    from askew_training.heads.linear import Whitening
    from askew_training.networks.checkpoint import Checkpoint

DEFAULT_DIM = 512
DEFAULT_POWER = 0.5


class Method(Enum):
    """Where the layer comes from: photos without labels, pairs that show the same, or an existing layer."""

    pca = "pca"
    lw = "lw"
    given = "given"


@dataclass(frozen=True)
class LearningOptions:
    """How a layer is learned; None stands for the default of the method."""

    method: Method
    dim: int | None
    power: float | None
    shrinkage: float | None


@dataclass(frozen=True)
class NewLayer:
    """The layer, how it was made, in words, and all photos that the network has then learned from.

    `behind_linear`: whether the vectors of several scales are averaged behind the layer.
    """

    whitening: Whitening
    recipe: str
    data: tuple[PhotoSource, ...]
    behind_linear: bool = False


@stopped_by_sigterm()
def whiten(
    output: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
    start: Annotated[
        list[Path] | None,
        typer.Option(
            help="Whiten this checkpoint's network, instead of --trunk; repeatable: several are concatenated."
        ),
    ] = None,
    trunk: Annotated[
        list[str] | None, typer.Option(help="A timm network; repeatable: several are concatenated.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="For each trunk: a file in timm's layout, a package with weights, or timm."),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="pca: no labels; lw: pairs with one instance_id; given: an existing layer.")
    ] = Method.pca,
    licences: Annotated[Path | None, typer.Option(help="TOML file: the licence of each set of photos.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is used.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    whitening_pairs: Annotated[
        Path | None, typer.Option(help="With lw: retrieval-SfM-120k-whiten.pkl, its pairs instead of instances.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="With --whitening-pairs: the folder of its images.")] = None,
    whitening: Annotated[
        Path | None, typer.Option(help="With given: a published _whitening.pth; default: the start's own layer.")
    ] = None,
    whitening_name: Annotated[
        str | None, typer.Option(help="Which whitening of that file, such as retrieval-SfM-120k/ms.")
    ] = None,
    space_of: Annotated[
        Path | None,
        typer.Option(
            help="With given: the teacher's checkpoint. The start, its student, gets its layer and its space."
        ),
    ] = None,
    photo_size: Annotated[
        int | None,
        typer.Option(min=96, max=LARGEST_PHOTO_SIZE, help="Longest side in pixels; default: the start's, or 448."),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(help="1; 3, which is 1, 1/√2, 1/2; or factors: 1.4142,1,0.7071. Default: the start's, or 1."),
    ] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Dimensions; default: 512, with given all.")] = None,
    power: Annotated[
        float | None, typer.Option(min=0, max=1, help="With pca: 0 rotates, 1 whitens fully; default: 0.5.")
    ] = None,
    shrinkage: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="With lw: how little the pairs are trusted; default: 0.5.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="The folder for vectors; default: ~/.cache/askew.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a teacher: a network and a whitening of its vectors. The result defines a new space.

    With --space-of, make a student instead: it gets its teacher's whitening, and its vectors belong to its teacher's space.
    """
    from askew_training.networks.checkpoint import save_checkpoint

    _check_method(
        method, power, shrinkage, whitening, whitening_name, whitening_pairs, space_of, manifest, photos, images
    )
    factors = None if scales is None else parse_scales(scales)
    check_checkpoint(
        output,
        (*(start or []), *map(Path, weights or []), licences, manifest, whitening_pairs, whitening, space_of),
    )
    intake = Intake()
    base = start_of(start or [], trunk or [], weights or [], factors, photo_size)
    if space_of is not None:
        checkpoint = _student_of(base, space_of, [whitening, whitening_name, dim])
    else:
        if method is Method.given:
            layer = _given(base, whitening, whitening_name, dim)
        elif licences is None:
            raise typer.BadParameter("expected the licences of the photos to learn from", param_hint="--licences")
        else:
            chosen = _choose_photos(manifest, photos or [], whitening_pairs, images, intake)
            check_no_input("OUTPUT", output, (photo.path for photo in chosen.photos))
            learning = LearningOptions(method, dim, power, shrinkage)
            layer = _learn(base, learning, chosen, licences, descriptor_folder(cache), intake)
        checkpoint = _whitened(base, layer)
    save_checkpoint(output, checkpoint)
    used = f"{intake.taken} photos, " if intake.taken else ""
    finish(
        intake,
        f"{output}: {used}{checkpoint.network.dim} dimensions, space {checkpoint.space_id}",
        {"photos": intake.taken, "dim": checkpoint.network.dim, "space_id": checkpoint.space_id},
        as_json,
    )


def _whitened(base: Start, layer: NewLayer) -> Checkpoint:
    """The start with its new layer, which defines a space of its own."""
    from askew_training.networks.checkpoint import Checkpoint, Description, branches_of
    from askew_training.networks.network import Network

    scale_mean = replace(base.network.scale_mean, behind_linear=layer.behind_linear)
    network = Network(base.network.branches, layer.whitening.as_layer(), base.network.scales, scale_mean).eval()
    description = Description(
        branches=branches_of(network),
        dim=network.dim,
        photo_size=base.photo_size,
        scales=network.scales,
        scale_mean=scale_mean,
        recipe=f"{base.recipe}; {layer.recipe}",
        recipe_texts=base.recipe_texts,
        data=layer.data,
        derived_from=None if base.checkpoint is None else base.checkpoint.space_id,
    )
    return Checkpoint(network, description)


def _student_of(base: Start, teacher: Path, others: list[object]) -> Checkpoint:
    """The start with its teacher's layer, in its teacher's space. `others`: the options that choose another layer."""
    from askew_training.heads.teacher_space import in_space_of
    from askew_training.networks.checkpoint import Checkpoint, load_checkpoint

    if any(each is not None for each in others):
        raise typer.BadParameter(
            "the layer is the teacher's as it is: leave --whitening and --dim out", param_hint="--space-of"
        )
    if base.checkpoint is None:
        raise typer.BadParameter("expected one --start, the student's checkpoint", param_hint="--space-of")
    description = base.checkpoint.description.model_copy(
        update={"photo_size": base.photo_size, "scales": base.network.scales}
    )
    loaded = load_checkpoint(teacher)
    if loaded.network.linear is None:
        raise typer.BadParameter(
            f"{teacher} has no linear layer to give. Whiten the teacher first", param_hint="--space-of"
        )
    return in_space_of(Checkpoint(base.network, description), loaded, teacher.name)


def _check_method(
    method: Method,
    power: float | None,
    shrinkage: float | None,
    file: Path | None,
    name: str | None,
    pairs: Path | None,
    space_of: Path | None,
    manifest: Path | None,
    photos: list[Path] | None,
    images: Path | None,
) -> None:
    """Refuse options that the method would ignore: they are a misunderstanding."""
    ignored = [
        option
        for option, is_given, *readers in (
            ("--power", power is not None, Method.pca),
            ("--shrinkage", shrinkage is not None, Method.lw),
            ("--whitening", file is not None, Method.given),
            ("--whitening-name", name is not None, Method.given),
            ("--whitening-pairs", pairs is not None, Method.lw),
            ("--space-of", space_of is not None, Method.given),
            ("--manifest", manifest is not None, Method.pca, Method.lw),
            ("--photos", bool(photos), Method.pca, Method.lw),
            ("--images", images is not None, Method.lw),
        )
        if is_given and method not in readers
    ]
    if ignored:
        raise typer.BadParameter(f"--method {method.value} does not use it", param_hint=ignored[0])


def _given(base: Start, file: Path | None, name: str | None, dim: int | None) -> NewLayer:
    from askew_training.errors import WeightsError
    from askew_training.heads.linear import Whitening
    from askew_training.heads.published import read_published_whitening

    own = base.network.linear
    if file is not None:
        published = read_published_whitening(file, name)
        layer, behind_linear, origin = published.whitening, published.behind_linear, f"whitening {file.name}"
    elif dim is None:
        raise typer.BadParameter(
            "expected --whitening, --space-of or --dim: with none, nothing changes", param_hint="--method"
        )
    elif own is not None:
        layer, behind_linear, origin = (
            Whitening.of_layer(own),
            base.network.scale_mean.behind_linear,
            "its own whitening",
        )
    else:
        raise WeightsError(
            "The network has no linear layer of its own. Give one with --whitening FILE, or learn one with another "
            "--method."
        )
    truncated = layer.truncated(len(layer.weight) if dim is None else dim)
    recipe = f"{origin}, the first {len(truncated.weight)} of {len(layer.weight)} dimensions"
    return NewLayer(truncated, recipe, base.data, behind_linear)


def _choose_photos(
    manifest: Path | None, folders: list[Path], whitening_pairs: Path | None, images: Path | None, intake: Intake
) -> PairedPhotos:
    """The photos to learn from, with their pairs: listed ones, or those within instances."""
    from askew_training.data.pairs import pairs_within_instances
    from askew_training.data.photo_sets import training_photos
    from askew_training.data.sfm120k import read_whitening_pairs

    if (whitening_pairs is None) != (images is None):
        raise typer.BadParameter("expected --whitening-pairs and --images, or neither", param_hint="--images")
    if whitening_pairs is None or images is None:
        return pairs_within_instances(training_photos(manifest, folders, intake=intake))
    if manifest or folders:
        raise typer.BadParameter("it has its own photos: leave --manifest and --photos out", param_hint="--images")
    return read_whitening_pairs(whitening_pairs, images)


def _learn(
    base: Start, learning: LearningOptions, chosen: PairedPhotos, licences: Path, cache: Path, intake: Intake
) -> NewLayer:
    import numpy as np

    from askew_training.data.licences import merged_sources, read_licences, sources_of
    from askew_training.heads.pair_whitening import pairs_of
    from askew_training.heads.pca import check_dimensions
    from askew_training.heads.pooled import describe_pooled

    stated_licences = read_licences(licences)
    # Refuses a missing licence, too few photos and a lack of pairs before the work begins.
    sources_of(chosen.photos, stated_licences)
    dim = DEFAULT_DIM if learning.dim is None else learning.dim
    check_dimensions(dim, base.network.channels, len(chosen.photos))
    if learning.method is Method.lw and chosen.positives is None:
        pairs_of([photo.instance_id for photo in chosen.photos])
    with progress("describing", len(chosen.photos)) as advance:
        paths = [photo.path for photo in chosen.photos]
        described = describe_pooled(base.network, base.photo_size, paths, cache, advance)
    for photo in chosen.photos:
        if photo.path in described.unreadable:
            intake.skip(photo.id, "cannot be described", described.unreadable[photo.path])
    used = chosen.among(photo for photo in chosen.photos if photo.path in described.vectors)
    intake.taken = len(used.photos)
    vectors = np.stack([described.vectors[photo.path] for photo in used.photos])
    whitening, recipe = _learn_whitening(learning, vectors, used)
    recipe += f", learned at {base.photo_size} px and {len(base.network.scales)} scale(s)"
    return NewLayer(whitening, recipe, merged_sources(sources_of(used.photos, stated_licences), base.data))


def _learn_whitening(
    learning: LearningOptions, vectors: NDArray[np.float32], photos: PairedPhotos
) -> tuple[Whitening, str]:
    """Learn the layer. Returns it, and in words how it was learned."""
    from askew_training.heads.pair_whitening import DEFAULT_SHRINKAGE, learn_whitening_of_pairs, pairs_of
    from askew_training.heads.pca import learn_whitening

    dim = DEFAULT_DIM if learning.dim is None else learning.dim
    if learning.method is Method.pca:
        power = DEFAULT_POWER if learning.power is None else learning.power
        return learn_whitening(vectors, dim, power), f"PCA to {dim} with power {power:g}"
    shrinkage = DEFAULT_SHRINKAGE if learning.shrinkage is None else learning.shrinkage
    are_listed = photos.positives is not None
    queries, positives = photos.once() if are_listed else pairs_of([photo.instance_id for photo in photos.photos])
    if len(queries) < vectors.shape[1] and shrinkage < DEFAULT_SHRINKAGE:
        Console(stderr=True).print(
            f"warning: {len(queries)} pairs say little about {vectors.shape[1]} channels. Give more photos, or a "
            f"--shrinkage of {DEFAULT_SHRINKAGE:g} or more.",
            soft_wrap=True,
        )
    layer = learn_whitening_of_pairs(vectors, queries, positives, dim, shrinkage)
    return layer, f"whitening to {dim} of {len(queries)} pairs with shrinkage {shrinkage:g}"
