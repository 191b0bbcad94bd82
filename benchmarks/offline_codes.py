"""Bytes of an item's code in an offline pack, compared with the recall of searches on the device.

    python benchmarks/offline_codes.py VECTORS [--photos ../shared/data/pool] [--items 10000] [--sizes 64,128,256]

The photos are described once by the demo's teacher and student; the vectors are kept in the folder VECTORS. 1,000 photos are
queries, 10,000 others the gallery; more items are the remaining photos and random crops of all photos of the gallery. Recall
is the share of the ten items that the server's exact search finds with the student's vector that the codes find too.
Compared: the codes of a pack ("product" and "int8"), product quantization with equal widths, four bits for the first
dimensions, and signs with the ten-fold candidates rescored from int8.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client import Encoder
from askew_server.offline.choice import spread_rows
from askew_server.offline.codecs import Codec, int8_codec
from askew_server.offline.training import TRAINING_VECTORS, train_codec

ENCODERS = Path(__file__).parents[1] / "demo" / "encoders"
QUERIES, PLAIN = 1_000, 10_000
SIZES = (64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768)
SHORTEST_CROP = 40
Box = tuple[int, int, int, int]
Picture = tuple[Path, Box | None]
Vectors = NDArray[np.float32]
Scores = Callable[[Vectors], Vectors]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="VECTORS")
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/pool"))
    parser.add_argument("--items", type=int, default=PLAIN)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    arguments = parser.parse_args()
    if not (arguments.photos / "manifest.csv").is_file():
        sys.exit(f"Expected photos with a manifest.csv in {arguments.photos}. Name another folder with --photos.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    gallery, students, teachers = described(arguments.photos, arguments.folder, arguments.items)
    wanted, wanted_of_teacher = nearest(students @ gallery.T), nearest(teachers @ gallery.T)
    print(f"{len(gallery):,} items of {gallery.shape[1]} dimensions, {len(students):,} queries; ", end="")
    print(f"cosine of student and teacher {np.einsum('nd,nd->n', students, teachers).mean():.3f}\n")
    print("| codes | bytes | recall@10, student's queries | teacher's queries |\n|---|---|---|---|")
    for name, size, scores in codes(gallery, [int(each) for each in arguments.sizes.split(",")]):
        found, found_of_teacher = nearest(scores(students)), nearest(scores(teachers))
        by_student, by_teacher = recall(found, wanted), recall(found_of_teacher, wanted_of_teacher)
        print(f"| {name} | {size} | {by_student:.3f} | {by_teacher:.3f} |", flush=True)


def codes(gallery: Vectors, sizes: list[int]) -> Iterator[tuple[str, int, Scores]]:
    """Name, bytes of an item, and scores [q, n] of queries, of each kind and size."""
    dim = gallery.shape[1]
    sample = gallery[spread_rows(len(gallery), TRAINING_VECTORS)]
    int8 = pack_scores(int8_codec(dim), gallery)
    for size in (each for each in sizes if each < dim):
        yield "pack: product", size, pack_scores(train_codec(sample, size), gallery)
    yield "pack: int8", dim, int8
    for size in (each for each in sizes if dim % each == 0):
        yield "product quantization, equal widths", size, equal_widths(gallery, sample, size)
    for size in (each for each in sizes if 2 * each <= dim):
        yield f"four bits, first {2 * size} dimensions", size, four_bits(gallery, 2 * size)
    yield "signs", dim // 8, lambda queries: queries @ np.where(gallery > 0, np.float32(1), np.float32(-1)).T
    yield "signs, best 100 rescored from int8", dim // 8 + dim, rescored_signs(gallery, int8)


def pack_scores(codec: Codec, gallery: Vectors) -> Scores:
    reconstructed = np.empty_like(gallery)
    for start in range(0, len(gallery), 4_096):
        part = gallery[start : start + 4_096]
        found = codec.encode(part)
        reconstructed[start : start + 4_096] = codec.codes.decode(found) * codec.fit(part, found)[0][:, None]
    return lambda queries: queries @ reconstructed.T


def equal_widths(gallery: Vectors, sample: Vectors, size: int) -> Scores:
    quantizer = faiss.ProductQuantizer(gallery.shape[1], size, 8)
    quantizer.train(sample)
    reconstructed = quantizer.decode(quantizer.compute_codes(gallery))
    return lambda queries: queries @ reconstructed.T


def four_bits(gallery: Vectors, dimensions: int) -> Scores:
    quantizer = faiss.ScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_4bit)
    part = np.ascontiguousarray(gallery[:, :dimensions])
    quantizer.train(part)
    reconstructed = quantizer.decode(quantizer.compute_codes(part))
    return lambda queries: queries[:, :dimensions] @ reconstructed.T


def rescored_signs(gallery: Vectors, int8: Scores) -> Scores:
    signs = np.where(gallery > 0, np.float32(1), np.float32(-1))

    def scores(queries: Vectors) -> Vectors:
        candidates = np.argpartition(-(queries @ signs.T), 100, axis=1)[:, :100]
        found = np.full((len(queries), len(gallery)), -np.inf, dtype=np.float32)
        np.put_along_axis(found, candidates, np.take_along_axis(int8(queries), candidates, 1), 1)
        return found

    return scores


def nearest(scores: Vectors) -> NDArray[np.int64]:
    return np.argpartition(-scores, 10, axis=1)[:, :10]


def recall(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


def described(photos: Path, folder: Path, items: int) -> tuple[Vectors, Vectors, Vectors]:
    """The gallery's vectors by the teacher, and the queries' by the student and by the teacher: float32 [n, D]."""
    with (photos / "manifest.csv").open(encoding="utf-8", newline="") as rows:
        paths = [photos / row["path"] for row in csv.DictReader(rows)]
    random.Random(0).shuffle(paths)
    queries, plain, rest = paths[:QUERIES], paths[QUERIES : QUERIES + PLAIN], paths[QUERIES + PLAIN :]
    parts = [vectors("teacher", [(path, None) for path in plain], folder / "gallery.npy")]
    if items > PLAIN:
        parts.append(vectors("teacher", [(path, None) for path in rest], folder / "rest.npy"))
        wanted = items - PLAIN - len(rest)
        parts.append(vectors("teacher", crops([*plain, *rest])[: max(0, wanted)], folder / "crops.npy"))
    by_student = vectors("student", [(path, None) for path in queries], folder / "queries_student.npy")
    by_teacher = vectors("teacher", [(path, None) for path in queries], folder / "queries_teacher.npy")
    return np.concatenate(parts)[:items], by_student, by_teacher


def crops(paths: list[Path]) -> list[Picture]:
    """Six crops of each photo with 45 to 80 % of its width and height, in random order."""
    draw = random.Random(1)
    sizes = {path: Image.open(path).size for path in paths}
    found: list[Picture] = []
    for path in paths * 6:
        width, height = sizes[path]
        share = draw.uniform(0.45, 0.8)
        across, down = int(width * share), int(height * share)
        left, top = draw.randint(0, width - across), draw.randint(0, height - down)
        if min(across, down) >= SHORTEST_CROP:
            found.append((path, (left, top, left + across, top + down)))
    draw.shuffle(found)
    return found


def vectors(role: str, pictures: list[Picture], kept: Path) -> Vectors:
    """The vectors of pictures, kept in a file from run to run; unit length, rounded to float16 as they are stored and sent."""
    stored = np.load(kept) if kept.is_file() else np.empty((0, 0), dtype=np.float16)
    if len(stored) < len(pictures):
        with ProcessPoolExecutor(initializer=open_encoder, initargs=(role,)) as pool:
            stored = np.stack(list(pool.map(describe, pictures, chunksize=16)))
        np.save(kept, stored)
    return stored[: len(pictures)].astype(np.float32)


def open_encoder(role: str) -> None:
    global encoder
    encoder = Encoder(ENCODERS / f"{role}.onnx", threads=1)


def describe(picture: Picture) -> NDArray[np.float16]:
    path, box = picture
    with Image.open(path) as photo:
        pixels = np.asarray((photo.crop(box) if box else photo).convert("RGB"))
    return encoder.encode_pixels(pixels).astype(np.float16)


if __name__ == "__main__":
    main()
