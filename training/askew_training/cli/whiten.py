"""`askew whiten`: give a network the linear layer that makes it a good teacher."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from askew_client.cli.stopping import stopped_by_sigterm
from askew_client.cli.taken import Intake
from askew_training.cli.options import descriptor_folder, parse_scales
from askew_training.cli.terminal import AsJson, finish, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from askew_training.data.licences import PhotoSource
    from askew_training.data.pairs import PairedPhotos
    from askew_training.heads.linear import Whitening
    from askew_training.networks.checkpoint import Checkpoint
    from askew_training.networks.network import Network

DEFAULT_PHOTO_SIZE = 448
DEFAULT_DIM = 512
DEFAULT_POWER = 0.5


class Method(Enum):
    """Where the layer comes from: photos without labels, pairs that show the same, or an existing layer."""

    pca = "pca"
    lw = "lw"
    given = "given"


@dataclass(frozen=True)
class Start:
    """The network to whiten, its photo size and how it was made.

    `checkpoint`: the single checkpoint that it comes from, if any. `data`: what its networks have learned from so far.
    """

    network: Network
    photo_size: int
    recipe: str
    checkpoint: Checkpoint | None
    data: tuple[PhotoSource, ...]


@dataclass(frozen=True)
class LearningOptions:
    """How a layer is learned; None stands for the default of the method."""

    method: Method
    dim: int | None
    power: float | None
    shrinkage: float | None


@dataclass(frozen=True)
class NewLayer:
    """The layer, how it was made, in words, and all photos that the network has then learned from."""

    whitening: Whitening
    recipe: str
    data: tuple[PhotoSource, ...]


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
    photo_size: Annotated[
        int | None, typer.Option(min=96, help="Longest side in pixels; default: the start's, or 448.")
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
    """Make a teacher: a network and a whitening of its vectors. The result defines a new space."""
    from askew_training.networks.checkpoint import Checkpoint, Description, branches_of, save_checkpoint
    from askew_training.networks.network import Network

    _check_method(method, power, shrinkage, whitening, whitening_name, whitening_pairs)
    factors = None if scales is None else parse_scales(scales)
    intake = Intake()
    base = _start(start or [], trunk or [], weights or [], factors, photo_size)
    if method is Method.given:
        layer = _given(base, whitening, whitening_name, dim)
    elif licences is None:
        raise typer.BadParameter("expected the licences of the photos to learn from", param_hint="--licences")
    else:
        chosen = _choose_photos(manifest, photos or [], whitening_pairs, images, intake)
        learning = LearningOptions(method, dim, power, shrinkage)
        layer = _learn(base, learning, chosen, licences, descriptor_folder(cache), intake)
    network = Network(base.network.branches, layer.whitening.as_layer(), base.network.scales).eval()
    description = Description(
        branches=branches_of(network),
        dim=network.dim,
        photo_size=base.photo_size,
        scales=network.scales,
        recipe=f"{base.recipe}; {layer.recipe}",
        data=layer.data,
        derived_from=None if base.checkpoint is None else base.checkpoint.space_id,
    )
    checkpoint = Checkpoint(network, description)
    save_checkpoint(output, checkpoint)
    used = "" if method is Method.given else f"{sum(source.photos for source in layer.data)} photos, "
    finish(
        intake,
        f"{output}: {used}{network.dim} dimensions, space {checkpoint.space_id}",
        {"photos": intake.taken, "dim": network.dim, "space_id": checkpoint.space_id},
        as_json,
    )


def _check_method(
    method: Method,
    power: float | None,
    shrinkage: float | None,
    file: Path | None,
    name: str | None,
    pairs: Path | None,
) -> None:
    """Refuse options that the method would ignore: they are a misunderstanding."""
    ignored = [
        option
        for option, is_given, reader in (
            ("--power", power is not None, Method.pca),
            ("--shrinkage", shrinkage is not None, Method.lw),
            ("--whitening", file is not None, Method.given),
            ("--whitening-name", name is not None, Method.given),
            ("--whitening-pairs", pairs is not None, Method.lw),
        )
        if is_given and method is not reader
    ]
    if ignored:
        raise typer.BadParameter(f"--method {method.value} does not use it", param_hint=ignored[0])


def _start(
    files: list[Path],
    trunks: list[str],
    weights: list[str],
    scales: tuple[float, ...] | None,
    photo_size: int | None,
) -> Start:
    if bool(files) == bool(trunks):
        raise typer.BadParameter("expected --start, or one --trunk or more, and not both")
    if len(trunks) != len(weights):
        raise typer.BadParameter(f"expected one for each of {len(trunks)} trunks", param_hint="--weights")
    if files:
        return _start_from_checkpoints(files, scales, photo_size)
    return _start_from_trunks(trunks, weights, scales, photo_size)


def _start_from_checkpoints(files: list[Path], scales: tuple[float, ...] | None, photo_size: int | None) -> Start:
    from askew_training.data.licences import merged_sources
    from askew_training.networks.checkpoint import load_checkpoint
    from askew_training.networks.network import Network

    checkpoints = [load_checkpoint(file) for file in files]
    first = checkpoints[0].description
    size = photo_size or first.photo_size
    data = merged_sources(*(each.description.data for each in checkpoints))
    branches = [branch for each in checkpoints for branch in each.network.branches]
    if len(files) == 1:
        network = Network(branches, checkpoints[0].network.linear, scales or first.scales).eval()
        return Start(network, size, first.recipe, checkpoints[0], data)
    # The linear layer of one of several networks sees only a part of the vector, so a new one is learned over all.
    network = Network(branches, None, scales or first.scales).eval()
    return Start(network, size, " + ".join(f"({each.description.recipe})" for each in checkpoints), None, data)


def _start_from_trunks(
    trunks: list[str], weights: list[str], scales: tuple[float, ...] | None, photo_size: int | None
) -> Start:
    from askew_training.networks.network import Branch, Network
    from askew_training.networks.pooling import START_EXPONENT
    from askew_training.networks.weights import trunk_with_weights

    branches = [Branch(trunk_with_weights(*each)) for each in zip(trunks, weights, strict=True)]
    network = Network(branches, None, scales or (1.0,)).eval()
    recipe = f"weights {', '.join(Path(source).name for source in weights)}; GeM p={START_EXPONENT:g}"
    return Start(network, photo_size or DEFAULT_PHOTO_SIZE, recipe, None, ())


def _given(base: Start, file: Path | None, name: str | None, dim: int | None) -> NewLayer:
    from askew_training.errors import WeightsError
    from askew_training.heads.linear import Whitening
    from askew_training.heads.published import read_published_whitening

    if file is not None:
        layer, origin = read_published_whitening(file, name), f"whitening {file.name}"
    elif dim is None:
        raise typer.BadParameter("expected --whitening or --dim: with neither, nothing changes", param_hint="--method")
    elif base.network.linear is not None:
        layer, origin = Whitening.of_layer(base.network.linear), "its own whitening"
    else:
        raise WeightsError(
            "The network has no linear layer of its own. Give one with --whitening FILE, or learn one with another "
            "--method."
        )
    truncated = layer.truncated(len(layer.weight) if dim is None else dim)
    recipe = f"{origin}, the first {len(truncated.weight)} of {len(layer.weight)} dimensions"
    return NewLayer(truncated, recipe, base.data)


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
    from askew_training.heads.pooled import describe_pooled

    stated_licences = read_licences(licences)
    sources_of(chosen.photos, stated_licences)  # Refuses a missing licence before the work begins.
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
