"""`askew whiten`: give a network the linear layer that makes it a good teacher."""

from __future__ import annotations

from dataclasses import dataclass
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

    from askew_training.data.pairs import PairedPhotos
    from askew_training.heads.linear import Whitening
    from askew_training.networks.checkpoint import Checkpoint, PhotoSource
    from askew_training.networks.network import Network

DEFAULT_PHOTO_SIZE = 448
DEFAULT_DIM = 512


class Method(Enum):
    """Where the layer comes from: photos without labels, pairs that show the same, or a layer that there is."""

    pca = "pca"
    lw = "lw"
    given = "given"


@dataclass(frozen=True)
class Start:
    """The network to whiten, at the scales to whiten it at, and where it comes from."""

    network: Network
    photo_size: int
    recipe: str
    checkpoint: Checkpoint | None
    data: tuple[PhotoSource, ...]
    """What its networks have learned from so far."""


@dataclass(frozen=True)
class Learning:
    """How a layer is learned; None: what is usual for the method."""

    method: Method
    dim: int | None
    power: float | None
    shrinkage: float | None


def whiten(
    output: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
    start: Annotated[
        list[Path] | None,
        typer.Option(
            help="Whiten this checkpoint's network, in place of --trunk; repeat it to put several side by side."
        ),
    ] = None,
    trunk: Annotated[
        list[str] | None, typer.Option(help="A timm network; repeat it to put several side by side.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="For each trunk: a file in timm's layout, a package that carries one, or timm."),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="pca: no labels; lw: pairs of one instance_id; given: a layer that there is.")
    ] = Method.pca,
    licences: Annotated[Path | None, typer.Option(help="TOML file: the licence of each set of photos.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="A photo manifest; its role `train` is used.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="A folder of unlabelled photos; repeatable.")] = None,
    whitening_pairs: Annotated[
        Path | None, typer.Option(help="With lw: retrieval-SfM-120k-whiten.pkl, its pairs in place of instances.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="With --whitening-pairs: the folder of its images.")] = None,
    whitening: Annotated[
        Path | None, typer.Option(help="With given: a published _whitening.pth; the start's own layer.")
    ] = None,
    whitening_name: Annotated[str | None, typer.Option(help="Which of a file's, as retrieval-SfM-120k/ms.")] = None,
    photo_size: Annotated[int | None, typer.Option(min=96, help="Longest side in pixels; the start's, or 448.")] = None,
    scales: Annotated[
        str | None, typer.Option(help="1; 3, which are 1, 1/√2, 1/2; or factors: 1.4142,1,0.7071. The start's, or 1.")
    ] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="Dimensions to keep; 512, with given all.")] = None,
    power: Annotated[float | None, typer.Option(min=0, max=1, help="pca: 0 rotates, 1 whitens fully; 0.5.")] = None,
    shrinkage: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="lw: how little the pairs are trusted; 0.5.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where vectors are kept; ~/.cache/askew.")] = None,
) -> None:
    """Make a teacher: a network, and a whitening of its vectors. What is written defines a space of its own."""
    from askew_training.networks.checkpoint import Checkpoint, Description, branches_of, save_checkpoint
    from askew_training.networks.network import Network

    _refuse_idle(method, power, shrinkage, whitening, whitening_name, whitening_pairs)
    learning = Learning(method, dim, power, shrinkage)
    factors = None if scales is None else parsed_scales(scales)
    begun = _start(start or [], trunk or [], weights or [], factors, photo_size)
    if method is Method.given:
        layer, how, data = _given(begun, whitening, whitening_name, dim)
    elif licences is None:
        raise typer.BadParameter("expected the licences of the photos to learn from", param_hint="--licences")
    else:
        chosen = _chosen(manifest, photos or [], whitening_pairs, images)
        layer, how, data = _learned(begun, learning, chosen, licences, descriptor_folder(cache))
    network = Network(begun.network.branches, layer.as_layer(), begun.network.scales).eval()
    description = Description(
        branches=branches_of(network),
        dim=network.dim,
        photo_size=begun.photo_size,
        scales=network.scales,
        recipe=f"{begun.recipe}; {how}",
        data=data,
        derived_from=None if begun.checkpoint is None else begun.checkpoint.space_id,
    )
    checkpoint = Checkpoint(network, description)
    save_checkpoint(output, checkpoint)
    used = "" if method is Method.given else f"{sum(source.photos for source in data)} photos, "
    Console().print(f"{output}: {used}{network.dim} dimensions, space {checkpoint.space_id}", soft_wrap=True)


def _refuse_idle(
    method: Method,
    power: float | None,
    shrinkage: float | None,
    file: Path | None,
    name: str | None,
    pairs: Path | None,
) -> None:
    """An option that the method does not read is a misunderstanding."""
    idle = [
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
    if idle:
        raise typer.BadParameter(f"--method {method.value} does not use it", param_hint=idle[0])


def _start(
    files: list[Path],
    trunks: list[str],
    weights: list[str],
    scales: tuple[float, ...] | None,
    photo_size: int | None,
) -> Start:
    from askew_training.networks.checkpoint import load_checkpoint, merged_sources
    from askew_training.networks.network import Branch, Network
    from askew_training.networks.pooling import START_EXPONENT
    from askew_training.networks.weights import trunk_with_weights

    if bool(files) == bool(trunks):
        raise typer.BadParameter("expected --start, or one --trunk or more, and not both")
    if len(trunks) != len(weights):
        raise typer.BadParameter(f"expected one for each of {len(trunks)} trunks", param_hint="--weights")
    if files:
        checkpoints = [load_checkpoint(file) for file in files]
        known, networks = checkpoints[0].description, [each.network for each in checkpoints]
        alone = len(files) == 1
        branches = [branch for network in networks for branch in network.branches]
        # A linear layer of one of several sees a part of the vector only: a new one is learned over all.
        network = Network(branches, networks[0].linear if alone else None, scales or known.scales).eval()
        recipe = " + ".join(f"({each.description.recipe})" for each in checkpoints)
        sources = merged_sources(*(each.description.data for each in checkpoints))
        size = photo_size or known.photo_size
        return Start(network, size, known.recipe if alone else recipe, checkpoints[0] if alone else None, sources)
    branches = [Branch(trunk_with_weights(*each)) for each in zip(trunks, weights, strict=True)]
    recipe = f"weights {', '.join(Path(source).name for source in weights)}; GeM p={START_EXPONENT:g}"
    network = Network(branches, None, scales or (1.0,)).eval()
    return Start(network, photo_size or DEFAULT_PHOTO_SIZE, recipe, None, ())


def _given(
    begun: Start, file: Path | None, name: str | None, dim: int | None
) -> tuple[Whitening, str, tuple[PhotoSource, ...]]:
    from askew_training.errors import WeightsError
    from askew_training.heads.linear import Whitening
    from askew_training.heads.published import read_published_whitening

    data = begun.data
    if file is not None:
        layer, origin = read_published_whitening(file, name), f"whitening {file.name}"
    elif dim is None:
        raise typer.BadParameter("expected --whitening or --dim: with neither, nothing changes", param_hint="--method")
    elif begun.network.linear is not None:
        layer, origin = Whitening.of_layer(begun.network.linear), "its own whitening"
    else:
        raise WeightsError(
            "The network has no linear layer of its own. Give --whitening FILE, or learn one (--method)."
        )
    kept = layer.truncated(len(layer.weight) if dim is None else dim)
    return kept, f"{origin}, the first {len(kept.weight)} of {len(layer.weight)} dimensions", data


def _chosen(
    manifest: Path | None, folders: list[Path], whitening_pairs: Path | None, images: Path | None
) -> PairedPhotos:
    """The photos to learn from, with the pairs that somebody listed, if any did."""
    from askew_training.data.pairs import pairs_within_instances
    from askew_training.data.photo_sets import training_photos
    from askew_training.data.sfm120k import read_whitening_pairs

    if (whitening_pairs is None) != (images is None):
        raise typer.BadParameter("expected --whitening-pairs and --images, or neither", param_hint="--images")
    if whitening_pairs is None or images is None:
        return pairs_within_instances(training_photos(manifest, folders))
    if manifest or folders:
        raise typer.BadParameter("it brings its own photos: leave --manifest and --photos out", param_hint="--images")
    return read_whitening_pairs(whitening_pairs, images)


def _learned(
    begun: Start, learning: Learning, chosen: PairedPhotos, licences: Path, cache: Path
) -> tuple[Whitening, str, tuple[PhotoSource, ...]]:
    import numpy as np

    from askew_training.data.photo_sets import read_licences, sources_of
    from askew_training.networks.checkpoint import merged_sources
    from askew_training.vectors.pooled import describe_pooled

    stated = read_licences(licences)
    sources_of(chosen.photos, stated)
    with progress("describing", len(chosen.photos)) as advance:
        paths = [photo.path for photo in chosen.photos]
        described = describe_pooled(begun.network, begun.photo_size, paths, cache, advance)
    name_unreadable(described.unreadable)
    used = chosen.among(photo for photo in chosen.photos if photo.path in described.vectors)
    vectors = np.stack([described.vectors[photo.path] for photo in used.photos])
    layer, how = _learn(learning, vectors, used)
    at = f"learned at {begun.photo_size} px and {len(begun.network.scales)} scale(s)"
    return layer, f"{how}, {at}", merged_sources(sources_of(used.photos, stated), begun.data)


def _learn(learning: Learning, vectors: NDArray[np.float32], photos: PairedPhotos) -> tuple[Whitening, str]:
    """The layer, and how it was learned in words."""
    from askew_training.heads.pair_whitening import DEFAULT_SHRINKAGE, learn_whitening_of_pairs, pairs_of
    from askew_training.heads.pca import learn_whitening

    dim = DEFAULT_DIM if learning.dim is None else learning.dim
    if learning.method is Method.pca:
        power = 0.5 if learning.power is None else learning.power
        return learn_whitening(vectors, dim, power), f"PCA to {dim} with power {power:g}"
    shrinkage = DEFAULT_SHRINKAGE if learning.shrinkage is None else learning.shrinkage
    listed = photos.positives is not None
    queries, positives = photos.once() if listed else pairs_of([photo.instance_id for photo in photos.photos])
    layer = learn_whitening_of_pairs(vectors, queries, positives, dim, shrinkage)
    return layer, f"whitening to {dim} of {len(queries)} pairs with shrinkage {shrinkage:g}"
