"""Encoders that pass their golden vectors and fail on photos in every way that one can: endless, huge, slow, or raising.

Each is a small encoder (small_encoders.py) with something behind the network, which begins where `trigger` says: for
every photo, or for those whose first pixel is MARK, which no golden picture has.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from askew_client.contract.encoder_file import read_encoder_file
from tests.support.small_encoders import make_encoder, sealed

MARK = (1, 2, 3)

Fault = Literal["loop", "memory", "exception", "slow", "nan", "infinite", "zeros", "long"]


def make_hard_encoder(
    path: Path,
    fault: Fault,
    *,
    role: Literal["teacher", "student"] = "teacher",
    seed: int = 0,
    always: bool = False,
    amount: int | None = None,
    name: str | None = None,
) -> Path:
    """Write an encoder file that fails on photos whose first pixel is MARK, or `always`.

    `loop` never ends. `memory` needs `amount` bytes (200 GiB). `exception` makes the engine raise. `slow` takes `amount` rounds of a loop (200,000, about half a second), and then describes the photo as it should. `nan`, `infinite`,
    `zeros` and `long` give a vector that has such values, or is twice as long as it should be.
    """
    make_encoder(path, role=role, seed=seed, name=name)
    model, manifest = onnx.load(path), read_encoder_file(path).manifest
    graph = model.graph
    for each in graph.node:
        each.output[:] = ["normal" if output == "descriptor" else output for output in each.output]
    nodes, constants = _trigger(always)
    more_nodes, more_constants = _FAULTS[fault](amount)
    graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in {**constants, **more_constants}.items()
    )
    graph.node.extend([*nodes, *more_nodes])
    path.write_bytes(sealed(model, manifest.to_metadata()))
    return path


def marked_photo(seed: int = 0, *, size: tuple[int, int] = (160, 120)) -> bytes:
    """A PNG whose first pixel is MARK."""
    return _png(seed, size, marked=True)


def plain_photo(seed: int = 0, *, size: tuple[int, int] = (160, 120)) -> bytes:
    """A PNG like those of `marked_photo`, with another first pixel."""
    return _png(seed, size, marked=False)


def _png(seed: int, size: tuple[int, int], *, marked: bool) -> bytes:
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[0, 0] = MARK if marked else (200, 100, 50)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


Nodes = list[onnx.NodeProto]
Constants = dict[str, NDArray[np.generic]]


def _trigger(always: bool) -> tuple[Nodes, Constants]:
    """`trig`: a bool scalar; `always` true, else whether the first pixel is MARK."""
    node = helper.make_node
    constants: Constants = {
        "t_from": np.array([0, 0, 0]),
        "t_to": np.array([1, 1, 1]),
        "t_axes": np.array([0, 1, 2]),
        "t_mark": np.array([[[MARK]]], dtype=np.int32),
        "t_all": np.array(1 if always else 0, dtype=np.int32),
        "t_shape": np.array([], dtype=np.int64),
    }
    nodes = [
        node("Slice", ["image", "t_from", "t_to", "t_axes"], ["t_pixel"]),
        node("Cast", ["t_pixel"], ["t_values"], to=TensorProto.INT32),
        node("Equal", ["t_values", "t_mark"], ["t_equal"]),
        node("Cast", ["t_equal"], ["t_numbers"], to=TensorProto.INT32),
        node("ReduceMin", ["t_numbers"], ["t_least"], keepdims=0),
        node("Max", ["t_least", "t_all"], ["t_any"]),
        node("Reshape", ["t_any", "t_shape"], ["t_scalar"]),
        node("Cast", ["t_scalar"], ["trig"], to=TensorProto.BOOL),
        node("Cast", ["t_scalar"], ["trig_number"], to=TensorProto.INT64),
    ]
    return nodes, constants


def _body() -> onnx.GraphProto:
    """One round of a loop, which changes nothing."""
    info = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Identity", ["v_in"], ["v_out"])],
        "round",
        [info("i", TensorProto.INT64, []), info("c_in", TensorProto.BOOL, []), info("v_in", TensorProto.FLOAT, None)],
        [info("c_out", TensorProto.BOOL, []), info("v_out", TensorProto.FLOAT, None)],
    )


def _loop(_: int | None) -> tuple[Nodes, Constants]:
    # Without a number of rounds it never ends once `trig` is true.
    return [helper.make_node("Loop", ["", "trig", "normal"], ["descriptor"], body=_body())], {}


def _slow(amount: int | None) -> tuple[Nodes, Constants]:
    nodes = [
        helper.make_node("Mul", ["rounds", "trig_number"], ["s_count"]),
        helper.make_node("Loop", ["s_count", "", "normal"], ["descriptor"], body=_body()),
    ]
    return nodes, {"rounds": np.array(amount or 200_000)}


def _memory(amount: int | None) -> tuple[Nodes, Constants]:
    """A tensor of that many bytes, of which the smallest value is added times nothing."""
    node = helper.make_node
    nodes = [
        node("Mul", ["m_count", "trig_number"], ["m_wanted"]),
        node("Max", ["m_wanted", "m_one"], ["m_size"]),
        node("Reshape", ["m_size", "m_row"], ["m_shape"]),
        node("Expand", ["m_zero", "m_shape"], ["m_tensor"]),
        node("ReduceMax", ["m_tensor"], ["m_most"], keepdims=0),
        node("Add", ["normal", "m_most"], ["descriptor"]),
    ]
    constants: Constants = {
        "m_count": np.array((amount or 200 * 2**30) // 4),
        "m_one": np.array(1),
        "m_row": np.array([1]),
        "m_zero": np.array([0], dtype=np.float32),
    }
    return nodes, constants


def _exception(_: int | None) -> tuple[Nodes, Constants]:
    """A row that is taken from beyond the end."""
    node = helper.make_node
    nodes = [
        node("Mul", ["x_beyond", "trig_number"], ["x_index"]),
        node("Gather", ["x_rows", "x_index"], ["x_row"], axis=0),
        node("Add", ["normal", "x_row"], ["descriptor"]),
    ]
    return nodes, {"x_beyond": np.array(1_000), "x_rows": np.zeros((2, 1), dtype=np.float32)}


def _scaled(factor: float) -> Callable[[int | None], tuple[Nodes, Constants]]:
    """The vector times a factor, which is 1 for other photos."""

    def fault(_: int | None) -> tuple[Nodes, Constants]:
        nodes = [
            helper.make_node("Gather", ["f_factors", "trig_number"], ["f_factor"], axis=0),
            helper.make_node("Mul", ["normal", "f_factor"], ["descriptor"]),
        ]
        return nodes, {"f_factors": np.array([1, factor], dtype=np.float32)}

    return fault


_FAULTS: dict[Fault, Callable[[int | None], tuple[Nodes, Constants]]] = {
    "loop": _loop,
    "memory": _memory,
    "exception": _exception,
    "slow": _slow,
    "nan": _scaled(np.nan),
    "infinite": _scaled(np.inf),
    "zeros": _scaled(0),
    "long": _scaled(2),
}
