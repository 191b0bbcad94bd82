"""Encoder files for tests: some kilobytes, real ONNX, real manifests, real digests, made in milliseconds.

The network averages the photo over a 6 × 6 grid, centres the 108 values on mid-grey and multiplies them by a
random matrix that the seed decides. That is crude, yet different photos get clearly different vectors, and a
photo keeps its vector at another photo size, so that a teacher and its student behave as real ones do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from askew_client.contract.encoder_file import UNSEALED, seal
from askew_client.contract.manifest import DIGEST_KEY, Manifest, golden_text
from askew_client.contract.space import space_id as name_space
from askew_client.encoding.golden import golden_pictures
from askew_client.encoding.runtime import open_session

GRID = 6
FEATURES = GRID * GRID * 3


def make_encoder(
    path: Path,
    *,
    role: Literal["teacher", "student"],
    dim: int = 64,
    seed: int = 0,
    noise: float = 0.0,
    permuted: bool = False,
    space_id: str | None = None,
    photo_size: int = 128,
    name: str | None = None,
    version: str = "1",
) -> Path:
    """Write an encoder file and return its path.

    The teacher of a seed defines the space of that seed. A student of the same seed lands in it: exactly, or
    off by `noise` (0.1 gives cosines near 0.99, 1 gives 0.7); `permuted` ones do not land, and neither does
    another seed with the `space_id` copied from this one. `name` defaults to the role.
    """
    weight, bias = _linear(dim, seed)
    pooling = {"name": "grid", "cells": GRID}
    tensors = {"weight": weight, "bias": bias}
    space = space_id or name_space(dim=dim, pooling=pooling, whitened=False, tensors=tensors)
    if noise:
        spread = np.random.default_rng(seed + 1_000_003).standard_normal(weight.shape)
        weight = (weight + noise * weight.std() * spread).astype(np.float32)
    if permuted:
        order = np.random.default_rng(seed + 2_000_003).permutation(dim)
        weight, bias = weight[:, order], bias[order]
    model = _model(weight, bias, photo_size)
    manifest = Manifest(
        name=name or role,
        version=version,
        role=role,
        space_id=space,
        dim=dim,
        photo_size=photo_size,
        scales=[1.0],
        precision="fp32",
        trunk="grid",
        recipe="tests",
        data=[{"name": "none", "photos": 0}],
        metrics={"note": "made for tests"},
        licence="Apache-2.0",
        golden=_golden(model),
        tolerance=1e-4,
    )
    path.write_bytes(sealed(model, manifest.to_metadata()))
    return path


def sealed(model: onnx.ModelProto, metadata: dict[str, str]) -> bytes:
    """A model with this metadata and its digest, as the bytes of a file; the metadata need not be valid."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    del model.metadata_props[:]
    helper.set_model_props(model, {**metadata, DIGEST_KEY: UNSEALED})
    return seal(model.SerializeToString(deterministic=True))


def space_of(path: Path) -> str:
    """The space id that an encoder file states."""
    metadata: dict[str, str] = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return metadata["askew.space_id"]


def _linear(dim: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((FEATURES, dim)) / np.sqrt(FEATURES)
    # Without a bias an all mid-grey photo would have the zero vector, which has no direction.
    bias = random.standard_normal(dim) * 0.01
    return weight.astype(np.float32), bias.astype(np.float32)


def _golden(model: onnx.ModelProto) -> dict[str, str]:
    session = open_session(model.SerializeToString())
    return {
        picture: golden_text(session.run(["descriptor"], {"image": pixels[None]})[0][0])
        for picture, pixels in golden_pictures().items()
    }


def _model(weight: NDArray[np.float32], bias: NDArray[np.float32], photo_size: int) -> onnx.ModelProto:
    constants: dict[str, NDArray[np.generic]] = {
        "photo_size": np.array([photo_size]),
        "one": np.array([1]),
        "two": np.array([2]),
        "channels": np.array([3]),
        "first": np.array([0]),
        "sides": np.array([1, 2]),
        "grid": np.array([GRID, GRID, 3]),
        "row": np.array([0, FEATURES]),
        "grey": np.array(127.5, dtype=np.float32),
        "weight": weight,
        "bias": bias,
    }
    node = helper.make_node
    antialiased: dict[str, Any] = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        # The size rule in integers: max(1, (2 · side · min(S, m) + m) // (2 · m)) with m the longest side.
        node("Shape", ["image"], ["shape"]),
        node("Gather", ["shape", "sides"], ["height_width"]),
        node("Gather", ["shape", "first"], ["count"]),
        node("ReduceMax", ["height_width"], ["longest"], keepdims=1),
        node("Min", ["longest", "photo_size"], ["target"]),
        node("Mul", ["height_width", "target"], ["scaled"]),
        node("Mul", ["scaled", "two"], ["scaled_twice"]),
        node("Add", ["scaled_twice", "longest"], ["numerator"]),
        node("Mul", ["longest", "two"], ["denominator"]),
        node("Div", ["numerator", "denominator"], ["rounded"]),
        node("Max", ["rounded", "one"], ["shrunk"]),
        node("Concat", ["count", "shrunk", "channels"], ["sizes"], axis=0),
        node("Resize", ["image", "", "", "sizes"], ["pixels"], **antialiased),
        # The network: grid averages, centred, one linear layer, unit length.
        node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        node("Concat", ["count", "grid"], ["grid_sizes"], axis=0),
        node("Resize", ["values", "", "", "grid_sizes"], ["cells"], **antialiased),
        node("Sub", ["cells", "grey"], ["centred"]),
        node("Div", ["centred", "grey"], ["signed"]),
        node("Reshape", ["signed", "row"], ["features"]),
        node("MatMul", ["features", "weight"], ["product"]),
        node("Add", ["product", "bias"], ["linear"]),
        node("LpNormalization", ["linear"], ["descriptor"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["N", weight.shape[1]])],
        [numpy_helper.from_array(value, constant) for constant, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model
