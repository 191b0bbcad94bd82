"""`askew export --target mobile`: an encoder file as a folder of parts for mobile accelerators."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from askew_client.contract.encoder_file import EncoderFile
from askew_client.contract.manifest import golden_text
from askew_client.encoding.golden import draw_golden
from askew_client.encoding.runtime import load_onnxruntime, open_session
from askew_client.files import flush_folder
from askew_training.errors import CheckpointError, DataError, GateError
from askew_training.export.gate import SAME_VECTORS, cosine_distance
from askew_training.export.mobile_graphs import fixed_network, mobile_preprocessing, mobile_sizes
from askew_training.export.precision import restore, store
from askew_training.export.reexport import read_graph

if TYPE_CHECKING:
    from askew_client.encoding.runtime import Session

FORMAT_VERSION = 1
SELF_TEST_SEED = 8
"""The golden picture `large` has this seed; the self-test of each shape draws it at the shape's aspect."""
SELF_TEST_SIZES = {"4x3": (1400, 1050), "3x4": (1050, 1400), "1x1": (1400, 1400)}
"""Width and height of the picture for each shape's self-test."""


@dataclass(frozen=True)
class MobileReport:
    """What was written: the encoder, and the largest cosine distance between its vectors and those of the parts."""

    encoder: EncoderFile
    cosine_distance: float
    bytes: int


def write_mobile(source: Path, output: Path) -> MobileReport:
    """Cut an encoder file into `preprocess.onnx` and a network for each of three shapes, beside a `manifest.json`.

    The folder appears complete or not at all. Raises NotAnEncoder, UnknownManifest, DamagedEncoder for the source;
    CheckpointError for one whose convolutions multiply bytes; DataError if `output` exists or cannot be written;
    GateError if the parts do not compute the encoder's vectors.
    """
    if output.exists() or output.is_symlink():
        raise DataError(f"Expected {output} not to exist, because the parts become a new folder. Remove it first.")
    if not output.parent.is_dir():
        raise DataError(f"{output} cannot be written: {output.parent} is not a folder. Create it first.")
    file, fused = read_graph(source)
    if file.manifest.precision == "int8-compute":
        raise CheckpointError(
            f"{source} multiplies bytes, which suits processors. Accelerators compute in half precision: give the encoder file "
            "of the same student in another precision."
        )
    parts = mobile_parts(file, fused)
    vectors = _self_test_vectors(fused)
    distance = check_parts(parts, fused, vectors, file.manifest.photo_size)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
            folder = Path(temporary) / output.name
            folder.mkdir()
            entries = {name: _write_part(folder, name, model, file) for name, model in parts.items()}
            text = json.dumps(_manifest(file, entries, vectors), indent=2, ensure_ascii=False)
            (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
            written = sum(each.stat().st_size for each in folder.iterdir())
            flush_folder(folder)
            folder.rename(output)
            flush_folder(output.parent)
    except OSError as error:
        raise DataError(f"{output} cannot be written: {error.strerror or error}.") from None
    return MobileReport(file, distance, written)


def mobile_parts(file: EncoderFile, fused: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """The graphs by name: `preprocess`, and `network-` with each shape. Raises GateError."""
    whole, size = restore(fused), file.manifest.photo_size
    networks = {
        f"network-{shape}": store(fixed_network(whole, height, width), file.manifest.precision)
        for shape, (height, width) in mobile_sizes(size).items()
    }
    return {"preprocess": mobile_preprocessing(size), **networks}


def check_parts(
    parts: dict[str, onnx.ModelProto],
    fused: onnx.ModelProto,
    vectors: dict[str, NDArray[np.float32]],
    photo_size: int,
) -> float:
    """Compare the parts with their encoder on two pictures of each shape's aspect: the self-test's, and one of exactly
    the shape. Returns the largest cosine distance. Raises GateError if it is above SAME_VECTORS, or for a wrong shape.
    """
    preprocess, encoder, worst = _session(parts["preprocess"]), _session(fused), 0.0
    for shape, (height, width) in mobile_sizes(photo_size).items():
        network = _session(parts[f"network-{shape}"])
        exact = draw_golden(width, height, SELF_TEST_SEED)
        expected = encoder.run(["descriptor"], {"image": exact[None]})[0][0]
        for picture, vector in ((_self_test_picture(shape), vectors[shape]), (exact, expected)):
            (pixels,) = preprocess.run(["pixels"], {"image": picture[None]})
            if pixels.shape != (1, height, width, 3):
                raise GateError(
                    f"The preprocessing makes a picture of {pixels.shape[2]} × {pixels.shape[1]} px for the shape {shape}; "
                    f"expected {width} × {height}. Nothing was written."
                )
            distance = cosine_distance(network.run(["descriptor"], {"pixels": pixels})[0][0], vector)
            if not distance <= SAME_VECTORS:
                raise GateError(
                    f"The parts for {shape} differ from the encoder by a cosine distance of {distance:.2g}; expected at "
                    f"most {SAME_VECTORS:g}. Nothing was written."
                )
            worst = max(worst, distance)
    return worst


def _self_test_picture(shape: str) -> NDArray[np.uint8]:
    width, height = SELF_TEST_SIZES[shape]
    return draw_golden(width, height, SELF_TEST_SEED)


def _self_test_vectors(fused: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """The encoder's own vector of each shape's picture: float32 [D]."""
    session = _session(fused)
    return {
        shape: session.run(["descriptor"], {"image": _self_test_picture(shape)[None]})[0][0]
        for shape in SELF_TEST_SIZES
    }


def _write_part(folder: Path, name: str, model: onnx.ModelProto, file: EncoderFile) -> dict[str, object]:
    """Write one part with metadata that names its encoder. Returns its entry in the manifest."""
    onnx.helper.set_model_props(
        model,
        {
            "askew.part": name,
            "askew.part_of": file.manifest.encoder_id,
            "askew.part_of_sha256": file.sha256,
            "askew.licence": file.manifest.licence,
        },
    )
    content = model.SerializeToString(deterministic=True)
    (folder / f"{name}.onnx").write_bytes(content)
    return {"file": f"{name}.onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest(
    file: EncoderFile, entries: dict[str, dict[str, object]], vectors: dict[str, NDArray[np.float32]]
) -> dict[str, object]:
    networks = []
    for shape, (height, width) in mobile_sizes(file.manifest.photo_size).items():
        drawn_width, drawn_height = SELF_TEST_SIZES[shape]
        picture = {"width": drawn_width, "height": drawn_height, "seed": SELF_TEST_SEED}
        networks.append(
            {
                "shape": shape,
                "width": width,
                "height": height,
                **entries[f"network-{shape}"],
                "self_test": {**picture, "vector": golden_text(vectors[shape])},
            }
        )
    return {
        "format_version": FORMAT_VERSION,
        "encoder": file.manifest.encoder_id,
        "encoder_sha256": file.sha256,
        "preprocess": entries["preprocess"],
        "networks": networks,
        "manifest": file.manifest.model_dump(mode="json", exclude_none=True),
    }


def _session(model: onnx.ModelProto) -> Session:
    options = load_onnxruntime().SessionOptions()
    options.log_severity_level = 3
    return open_session(model.SerializeToString(), options)
