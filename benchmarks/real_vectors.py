"""Real vectors for benchmarks: crops of photos by the teacher to store, whole photos by the student to search for.

    python benchmarks/real_vectors.py --photos FOLDER --into FOLDER [--items 100000] [--queries 1000] [--threads CORES]
                                       [--longest-side 128]

Writes stored.npy (float16 [items, D]) and queries.npy (float32 [queries, D]) into the folder, for --vectors of peers.py
and serving.py. A crop has at least a third of its photo's area, and every second one is mirrored, so that there may be more
items than photos; crop n is always the same one. Crops are described in blocks of 1,000, each kept in a file. Run again,
the command goes on after the last block; with fewer --items, it uses the blocks that are there. The first hundred crops
show how long it will take. --longest-side shrinks crops before they are described: at 128 px it takes about an eighth of
the time, and the vectors say less of the details.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client import Encoder
from askew_client.cores import usable_cores
from askew_client.encoding.photos import SHORTEST_SIDE, SUFFIXES, read_photo
from askew_client.errors import AskewError

BLOCK = 1_000
FIRST = 100
SEED = 17
LEAST_AREA = 1 / 3
ATTEMPTS = 20
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Crop:
    """Where a crop lies, as shares of the photo's sides, and whether it is mirrored."""

    photo: int
    top: float
    left: float
    height: float
    width: float
    mirrored: bool

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut it out of a photo, uint8 [H, W, 3]; at least 32 pixels a side, if the photo has them."""
        (top, bottom), (left, right) = (
            _span(start, share, side)
            for start, share, side in zip(
                (self.top, self.left), (self.height, self.width), pixels.shape[:2], strict=True
            )
        )
        cut = pixels[top:bottom, left:right]
        return np.ascontiguousarray(cut[:, ::-1] if self.mirrored else cut)


def draw_crop(number: int, attempt: int, photos: int) -> Crop:
    """Crop `number`; a further attempt takes another photo. Each round of the photos has an order of its own."""
    round_, place = divmod(number, photos)
    order = np.random.default_rng([SEED, round_]).permutation(photos)
    random = np.random.default_rng([SEED, number, attempt])
    area = random.uniform(LEAST_AREA, 1)
    # A side may be as short as the area allows while the other stays within the photo; 4:3 at most, to keep shapes usual.
    stretch = np.exp(random.uniform(-1, 1) * min(math.log(4 / 3), -math.log(area)) / 2)
    height, width = math.sqrt(area) * stretch, math.sqrt(area) / stretch
    top, left = random.uniform(0, 1 - height), random.uniform(0, 1 - width)
    return Crop(int(order[(place + attempt) % photos]), top, left, height, width, bool(random.random() < 0.5))


class Describer:
    """Describes crops and whole photos with one encoder; may be used from several threads."""

    def __init__(self, encoder: Encoder, photos: list[Path], longest_side: int | None = None) -> None:
        self.encoder = encoder
        self.photos = photos
        self.longest_side = longest_side

    def crop(self, number: int) -> NDArray[np.float16]:
        """The vector of crop `number`, float16 [D]. A photo that cannot be read is passed over for the next one."""
        for attempt in range(ATTEMPTS):
            crop = draw_crop(number, attempt, len(self.photos))
            try:
                cut = crop.of(read_photo(self.photos[crop.photo]))
                return self.encoder.encode(_shrunk(cut, self.longest_side)).astype(np.float16)
            except AskewError:
                continue
        raise SystemExit(f"None of {ATTEMPTS} photos in a row can be described, the last: {self.photos[crop.photo]}.")

    def whole(self, number: int) -> NDArray[np.float32] | None:
        """The vector of a whole photo, float32 [D]; None if it cannot be described."""
        try:
            return self.encoder.encode(self.photos[number])
        except AskewError:
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--longest-side", type=int, metavar="PIXELS", help="of a crop; default: as it is")
    parser.add_argument("--teacher", type=Path, default=Path("demo/encoders/teacher.onnx"))
    parser.add_argument("--student", type=Path, default=Path("demo/encoders/student.onnx"))
    options = parser.parse_args()
    if min(options.items, options.queries, options.threads) < 1:
        raise SystemExit("Expected --items, --queries and --threads of at least 1.")
    if options.longest_side is not None and options.longest_side < SHORTEST_SIDE:
        raise SystemExit(f"Expected a --longest-side of at least {SHORTEST_SIDE} px, got {options.longest_side}.")
    try:
        _write_all(options)
    except AskewError as error:
        raise SystemExit(str(error)) from None


def _write_all(options: argparse.Namespace) -> None:
    photos = _photos(options.photos)
    teacher, student = (Encoder(path, threads=1) for path in (options.teacher, options.student))
    if teacher.space_id != student.space_id:
        raise SystemExit(f"{options.student} describes photos for another space than {options.teacher}. Take a pair.")
    blocks = options.into / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    _claim(options.into, teacher, photos, options.photos, options.longest_side)
    with ThreadPoolExecutor(options.threads) as pool:
        _describe_crops(pool, Describer(teacher, photos, options.longest_side), blocks, options.items)
        queries = _describe_photos(pool, Describer(student, photos), options.queries)
    needed = [np.load(blocks / f"{number:05}.npy") for number in range(-(-options.items // BLOCK))]
    _save(options.into / "stored.npy", np.concatenate(needed)[: options.items])
    _save(options.into / "queries.npy", np.stack(queries))
    print(
        f"{options.into}: {options.items} vectors to store, {len(queries)} to search for, {teacher.manifest.dim} each"
    )


def _describe_crops(pool: ThreadPoolExecutor, teacher: Describer, blocks: Path, items: int) -> None:
    """Write the blocks that are missing. The last one is as long as the others, so that more items can follow."""
    missing = [n for n in range(-(-items // BLOCK)) if not (blocks / f"{n:05}.npy").exists()]
    began, done = time.monotonic(), 0
    for number in missing:
        rows = []
        for row in pool.map(teacher.crop, range(number * BLOCK, (number + 1) * BLOCK)):
            rows.append(row)
            done += 1
            if done == FIRST or (done % BLOCK == 0 and done // BLOCK % 10 == 0):
                rate = done / (time.monotonic() - began)
                left = (len(missing) * BLOCK - done) / rate / 60
                print(f"{rate:.1f} crops/s, {left:.0f} minutes left for {len(missing) * BLOCK - done}", flush=True)
        _save(blocks / f"{number:05}.npy", np.stack(rows))


def _describe_photos(pool: ThreadPoolExecutor, student: Describer, wanted: int) -> list[NDArray[np.float32]]:
    """Vectors of up to `wanted` whole photos, spread over all."""
    chosen = np.random.default_rng(SEED).permutation(len(student.photos))[:wanted]
    vectors = [vector for vector in pool.map(student.whole, chosen.tolist()) if vector is not None]
    if not vectors:
        raise SystemExit("None of the photos chosen as queries can be described. Check the folder --photos.")
    return vectors


def _photos(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        state = "holds no photo" if folder.is_dir() else "is not a folder"
        raise SystemExit(f"Expected a folder with photos, or with folders of photos, but {folder} {state}.")
    return found


def _claim(into: Path, teacher: Encoder, photos: list[Path], folder: Path, longest_side: int | None) -> None:
    """Keep what the blocks depend on, and refuse to go on with anything else."""
    names = "\n".join(path.relative_to(folder).as_posix() for path in photos)
    wanted = {
        "encoder": hashlib.sha256(teacher.path.read_bytes()).hexdigest(),
        "photos": hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest(),
        "seed": SEED,
        "longest_side": longest_side,
    }
    kept = into / SETTINGS
    if not kept.exists():
        kept.write_text(json.dumps(wanted))
    elif {"longest_side": None, **json.loads(kept.read_text())} != wanted:
        raise SystemExit(
            f"{into} was begun with another teacher, other photos or another --longest-side. Choose another folder with --into."
        )


def _shrunk(pixels: NDArray[np.uint8], longest_side: int | None) -> NDArray[np.uint8]:
    """At most `longest_side` pixels long, each side at least 32 if it was."""
    height, width = pixels.shape[:2]
    if longest_side is None or max(height, width) <= longest_side:
        return pixels
    factor = longest_side / max(height, width)
    size = (max(SHORTEST_SIDE, round(width * factor)), max(SHORTEST_SIDE, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _save(path: Path, array: NDArray[np.floating]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, array)
    part.replace(path)


def _span(start: float, share: float, side: int) -> tuple[int, int]:
    length = min(side, max(SHORTEST_SIDE, round(share * side)))
    first = min(round(start * side), side - length)
    return first, first + length


if __name__ == "__main__":
    main()
