"""From an encoder file back to a checkpoint: the weights that the file stores, in the network that its manifest names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from pydantic import ValidationError
from torch import Tensor, nn

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.contract.manifest import Manifest
from askew_training.data.licences import PhotoSource
from askew_training.errors import GateError, WeightsError
from askew_training.export.encoder_file import recipe_texts_of
from askew_training.export.gate import check_graph
from askew_training.networks.checkpoint import BranchDescription, Checkpoint, Description, network_of
from askew_training.networks.names import PoolingName
from askew_training.networks.network import Branch, Network, ScaleMean
from askew_training.networks.pooling import GeM, GeMmp, RegionalGeM
from askew_training.networks.statistics import forget_statistics
from askew_training.networks.trunks import Normalisation, Trunk

_BRANCH = re.compile(r"(?P<trunk>\S+)(?: → (?P<width>\d+))?(?: \((?P<pooling>[a-z]+)\))?")

Arrays = Mapping[str, NDArray[Any]]


def recover_checkpoint(path: Path) -> Checkpoint:
    """Read an encoder file as a checkpoint, to train on from or to be a teacher in a training.

    The weights are those that the file stores, in its precision, with the statistics of batch normalisation folded into the
    convolutions. The checkpoint keeps the file's space, also that of a teacher, and is therefore exported as a student. It is
    compared with the file on photos of nine sizes. Raises NotAnEncoder, UnknownManifest or DamagedEncoder for a file that
    cannot be read, and WeightsError for one whose network cannot be rebuilt.
    """
    manifest = read_encoder_file(path).manifest
    if manifest.precision == "int8-compute":
        raise WeightsError(
            f"{path} multiplies bytes (int8-compute), and its weights are no longer those of a network to train. Expected the fp32, fp16 "
            "or int8 file of the same student."
        )
    model = onnx.load(path)
    arrays = _constants(model)
    description = _description(path, manifest, model, _linear(model, arrays) is not None)
    # The manifest does not say how vectors of several scales become one.
    means = [_mean_before_linear(model, arrays, len(description.branches))]
    if len(description.scales) > 1 and description.dim is not None and means[0].exponent is None:
        means.append(ScaleMean(behind_linear=True))
    fitting: dict[float, Network] = {}
    problem: GateError | None = None
    for mean in means:
        network = _network(path, description, model, arrays, mean)
        try:
            fitting.setdefault(check_graph(model, network, manifest.photo_size).cosine_distance, network)
        except GateError as error:
            problem = error
    if not fitting:
        reason = str(problem).removesuffix(" Nothing was written.")
        raise WeightsError(f"{path} cannot be rebuilt as {manifest.trunk}: {reason}")
    network = fitting[min(fitting)]
    return Checkpoint(network, description.model_copy(update={"scale_mean": network.scale_mean}))


def _description(path: Path, manifest: Manifest, model: onnx.ModelProto, has_linear: bool) -> Description:
    branches = []
    for part in manifest.trunk.split(" + "):
        found = _BRANCH.fullmatch(part)
        if found is None or (found["pooling"] or "gem") not in get_args(PoolingName):
            raise WeightsError(
                f"{path} names the trunk {part!r}. Expected timm's name of a network, as `askew export` writes it."
            )
        width = None if found["width"] is None else int(found["width"])
        pooling = cast(PoolingName, found["pooling"] or "gem")
        branches.append(BranchDescription(trunk=found["trunk"], projection=width, pooling=pooling))
    try:
        return Description(
            branches=tuple(branches),
            dim=manifest.dim if has_linear else None,
            photo_size=manifest.photo_size,
            scales=tuple(manifest.scales),
            recipe=manifest.recipe,
            data=tuple(PhotoSource.model_validate(source) for source in manifest.data),
            teacher_space=manifest.space_id,
            derived_from=manifest.derived_from,
            recipe_texts=tuple(recipe_texts_of(model)),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WeightsError(f"{path} cannot become a checkpoint: its {where}: {first['msg']}.") from None


def _network(
    path: Path, description: Description, model: onnx.ModelProto, arrays: Arrays, scale_mean: ScaleMean
) -> Network:
    network = network_of(description.model_copy(update={"scale_mean": scale_mean})).eval()
    inputs = {node.name: [arrays.get(name) for name in node.input] for node in model.graph.node}
    with torch.no_grad():
        for number, branch in enumerate(network.branches):
            _fill_branch(path, branch, f"/branches.{number}/", inputs)
        found = _linear(model, arrays)
        if network.linear is not None and found is not None:
            for own, stored in zip((network.linear.weight, network.linear.bias), found, strict=True):
                _copy(path, own, stored, "its linear layer")
    return network


def _mean_before_linear(model: onnx.ModelProto, arrays: Arrays, branches: int) -> ScaleMean:
    """How the branches average their scales: with GeM by a power, by default the one that they pool with."""
    powers = {
        node.name: float(arrays[node.input[1]].ravel()[0])
        for node in model.graph.node
        if node.op_type == "Pow" and node.input[1] in arrays
    }
    for scope in (f"/branches.{number}" for number in range(branches)):
        exponent = powers.get(f"{scope}/Pow")
        if exponent is not None and exponent != powers.get(f"{scope}/pool/Pow"):
            return ScaleMean(exponent=exponent)
    return ScaleMean()


def _fill_branch(path: Path, branch: Branch, scope: str, inputs: Mapping[str, list[NDArray[Any] | None]]) -> None:
    if isinstance(branch.pool, RegionalGeM):
        raise WeightsError(f"{path} pools regions (rgem), which cannot be read back. Keep its checkpoint.")
    mean, std = (_of_node(inputs, f"{scope}normalise/{kind}") for kind in ("Sub", "Div"))
    if mean is not None and std is not None:
        branch.trunk.normalisation = Normalisation(
            cast(Any, tuple(mean.ravel().tolist())), cast(Any, tuple(std.ravel().tolist()))
        )
        branch.normalise.mean.copy_(torch.from_numpy(mean.copy()).reshape(3, 1, 1))
        branch.normalise.std.copy_(torch.from_numpy(std.copy()).reshape(3, 1, 1))
    exponent = _of_node(inputs, f"{scope}pool/Pow")
    if isinstance(branch.pool, GeM | GeMmp) and exponent is not None:
        _copy(path, branch.pool.p, exponent.reshape(tuple(branch.pool.p.shape)), "the exponent of its pooling")
    stored = _convolutions(inputs, scope)
    _fill_convolutions(path, branch.trunk.features, _within(stored, "trunk"), folded_pairs(branch.trunk))
    if branch.projection is not None:
        _fill_convolutions(path, cast(nn.Module, branch.projection), _within(stored, "projection"), {})


def _within(stored: Mapping[str, list[NDArray[Any] | None]], part: str) -> dict[str, list[NDArray[Any] | None]]:
    return {name.removeprefix(f"{part}."): found for name, found in stored.items() if name.startswith(f"{part}.")}


def _convolutions(inputs: Mapping[str, list[NDArray[Any] | None]], scope: str) -> dict[str, list[NDArray[Any] | None]]:
    """Weight and bias of each convolution, by its module's name, which begins with `trunk.` or `projection.`."""
    found = {}
    for name, arrays in inputs.items():
        if name.startswith(scope) and name.endswith("/Conv"):
            found[_module_name(name[len(scope) : -len("/Conv")].split("/"))] = arrays[1:]
    return found


def _module_name(scopes: list[str]) -> str:
    """`blocks`, `blocks.2`, `blocks.2.0`, `conv_dw` → `blocks.2.0.conv_dw`: a child of a sequence repeats its name."""
    parts: list[str] = []
    for scope in scopes:
        if parts and scope.startswith(f"{parts[-1]}."):
            parts[-1] = scope
        else:
            parts.append(scope)
    return ".".join(parts)


def folded_pairs(trunk: Trunk) -> dict[str, str]:
    """The batch normalisation that directly follows each convolution, by their names; an export folds them into one."""
    features = trunk.features
    names = {module: name for name, module in features.named_modules()}
    last: dict[int, nn.Module] = {}
    pairs: dict[str, str] = {}
    kept: list[Tensor] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            last[id(made)] = module
            # Held, so that no later tensor gets the same id.
            kept.append(made)
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in last:
            pairs[names[last[id(given[0])]]] = names[module]

    handles = [module.register_forward_hook(note) for module in names if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    try:
        with torch.inference_mode():
            trunk(torch.zeros(1, 3, 96, 131))
    finally:
        for handle in handles:
            handle.remove()
    return pairs


def _fill_convolutions(
    path: Path, module: nn.Module, stored: Mapping[str, list[NDArray[Any] | None]], pairs: Mapping[str, str]
) -> None:
    """Give each convolution its stored weight, and its stored bias to the batch normalisation behind it, which does no more."""
    modules = dict(module.named_modules())
    filled: set[int] = set()
    for name, convolution in modules.items():
        if not isinstance(convolution, nn.Conv2d):
            continue
        weight, bias = [*stored.get(name, []), None, None][:2]
        if weight is None:
            raise WeightsError(
                f"{path} holds no weights of {name}. It was not written by `askew export`: import its checkpoint."
            )
        _copy(path, convolution.weight, weight, name)
        filled.add(id(convolution.weight))
        if name in pairs:
            behind = cast(nn.BatchNorm2d, modules[pairs[name]])
            _become_bias(path, behind, bias, name)
            filled.update(id(each) for each in behind.parameters())
        if convolution.bias is not None:
            if name in pairs or bias is None:
                convolution.bias.zero_()
            else:
                _copy(path, convolution.bias, bias, name)
            filled.add(id(convolution.bias))
    others = [name for name, each in module.named_parameters() if id(each) not in filled]
    if others:
        raise WeightsError(
            f"{path} cannot be read back: besides convolutions and the normalisation behind them, its trunk has {others[0]}. Keep "
            "its checkpoint."
        )


def _become_bias(path: Path, behind: nn.BatchNorm2d, bias: NDArray[Any] | None, name: str) -> None:
    forget_statistics(behind)
    if bias is None:
        behind.bias.zero_()
    else:
        _copy(path, behind.bias, bias, name)


def _copy(path: Path, own: Tensor, stored: NDArray[Any], name: str) -> None:
    if tuple(own.shape) != stored.shape:
        raise WeightsError(f"{path}: {name} has the shape {list(stored.shape)}, expected {list(own.shape)}.")
    own.copy_(torch.from_numpy(stored.astype(np.float32)))


def _of_node(inputs: Mapping[str, list[NDArray[Any] | None]], name: str) -> NDArray[Any] | None:
    """The constant that a node combines with its first input."""
    return next(iter(inputs.get(name, [])[1:]), None)


def _linear(model: onnx.ModelProto, arrays: Arrays) -> tuple[NDArray[Any], NDArray[Any]] | None:
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.name.startswith("/linear"):
            weight, bias = (arrays.get(name) for name in (*node.input[1:3], "", "")[:2])
            if weight is None or bias is None:
                return None
            transposed = any(each.name == "transB" and each.i for each in node.attribute)
            return (weight if transposed else weight.T), bias
    return None


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """All constants of a graph by name, also those that it converts when it is opened, from half precision or bytes."""
    found: dict[str, NDArray[Any]] = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        given = [found[name] for name in node.input if name in found]
        if len(given) < len(node.input):
            continue
        if node.op_type == "Constant":
            value = next((each.t for each in node.attribute if each.name == "value"), None)
            if value is not None:
                found[node.output[0]] = numpy_helper.to_array(value)
        elif node.op_type == "Cast":
            to = next(each.i for each in node.attribute if each.name == "to")
            found[node.output[0]] = given[0].astype(helper.tensor_dtype_to_np_dtype(to))
        elif node.op_type == "Mul":
            found[node.output[0]] = given[0] * given[1]
    return found
