"""What the admission gate measures for a real student and for files that only claim its space; the basis of its floors.

    python benchmarks/admission.py --teacher demo/encoders/teacher.onnx --student demo/encoders/student.onnx \
        --photos demo/gallery

From the student's file it makes others with the same manifest: one with shuffled weights (a random network with a copied
space id), one with permuted dimensions, and increasingly weak ones with noise on their weights. Each is a valid ONNX
file with matching golden vectors. Needs the training environment (onnx).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from askew_client.contract.encoder_file import UNSEALED, read_encoder_file, seal
from askew_client.contract.manifest import DIGEST_KEY, golden_text
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.golden import golden_pictures
from askew_client.encoding.runtime import load_onnxruntime
from askew_server.encoders.alignment import GateProbe, Hits, measure_alignment
from askew_server.index.types import Vectors

onnxruntime = load_onnxruntime()

Change = Callable[[NDArray[np.generic], np.random.Generator], NDArray[np.generic]]


def main() -> None:
    """Print one line for each candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.02, 0.04, 0.06, 0.08])
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.glob("*.jpg"))
    teacher = _describe(arguments.teacher, photos)
    stored = teacher.astype(np.float16).astype(np.float32)
    probes = [GateProbe(photo, vector, photo.name) for photo, vector in zip(photos, stored, strict=True)]
    names = np.array([photo.name for photo in photos])

    def nearest(queries: Vectors, limit: int) -> Hits:
        scores = queries @ stored.T
        order = np.argsort(-scores, axis=1)[:, :limit]
        return Hits(
            [[(str(names[i]), float(row[i])) for i in best] for row, best in zip(scores, order, strict=True)], True
        )

    print(f"{len(photos)} photos; a random order would have recall@10 {10 / (len(photos) - 1):.3f}")
    print("| candidate | mean cosine | finds itself first | recall@1 | recall@10 |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _candidates(arguments.student, Path(folder), arguments.noise):
            alignment = measure_alignment(probes, _describe(path, photos), nearest, len(photos))
            print(
                f"| {name} | {alignment.own.mean():.3f} | {alignment.self_recall_at_1:.3f} | {alignment.recall[1]:.3f} "
                f"| {alignment.recall[10]:.3f} |",
                flush=True,
            )


def _describe(encoder: Path, photos: list[Path]) -> NDArray[np.float32]:
    opened = Encoder(encoder)
    opened.check_golden()
    return np.stack([opened.encode(photo) for photo in photos])


def _candidates(student: Path, folder: Path, noises: list[float]) -> list[tuple[str, Path]]:
    made = [("the student", student)]
    made.append(("weights shuffled (random)", _changed(student, folder / "random.onnx", _shuffled)))
    made.append(("dimensions permuted", _permuted(student, folder / "permuted.onnx")))
    for noise in noises:
        path = folder / f"noise-{noise}.onnx"
        made.append((f"noise of {noise} of each weight's spread", _changed(student, path, _noisy(noise))))
    return made


def _shuffled(values: NDArray[np.generic], random: np.random.Generator) -> NDArray[np.generic]:
    return random.permutation(values.ravel()).reshape(values.shape)


def _noisy(noise: float) -> Change:
    def changed(values: NDArray[np.generic], random: np.random.Generator) -> NDArray[np.generic]:
        wide = values.astype(np.float64)
        spread = noise * wide.std() * random.standard_normal(values.shape)
        return np.asarray((wide + spread).astype(values.dtype))

    return changed


def _changed(student: Path, path: Path, change: Change) -> Path:
    """A copy with every weight of a layer changed; scales and biases stay."""
    model, random = onnx.load(student), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim >= 2 and values.size >= 64 and values.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(change(values, random), tensor.name))
    return _resealed(model, student, path)


def _permuted(student: Path, path: Path) -> Path:
    model = onnx.load(student)
    order = np.random.default_rng(0).permutation(read_encoder_file(student).manifest.dim)
    model.graph.initializer.append(numpy_helper.from_array(order, "permutation"))
    for node in model.graph.node:
        node.output[:] = ["unpermuted" if name == "descriptor" else name for name in node.output]
    model.graph.node.append(helper.make_node("Gather", ["unpermuted", "permutation"], ["descriptor"], axis=1))
    return _resealed(model, student, path)


def _resealed(model: onnx.ModelProto, student: Path, path: Path) -> Path:
    """Write a model under the student's manifest, with the golden vectors that it computes itself."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    golden = {
        picture: golden_text(session.run(["descriptor"], {"image": pixels[None]})[0][0])
        for picture, pixels in golden_pictures().items()
    }
    manifest = read_encoder_file(student).manifest.model_copy(update={"golden": golden})
    del model.metadata_props[:]
    helper.set_model_props(model, {**manifest.to_metadata(), DIGEST_KEY: UNSEALED})
    path.write_bytes(seal(model.SerializeToString(deterministic=True)))
    return path


if __name__ == "__main__":
    main()
