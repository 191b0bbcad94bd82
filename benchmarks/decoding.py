"""Photos per second in one thread: decoded from files, and read from the cache of decoded photos.

    python benchmarks/decoding.py FOLDER --longest-side 256 [--photos 1000] [--rounds 3]

FOLDER holds JPEG, PNG or WebP photos, for example demo/gallery. The two sources take turns, and the median round is reported.
All files are read once before the measurement, so that the disk is not measured.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from askew_training.data.photo_sets import photos_in
from askew_training.data.store import PhotoStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--longest-side", type=int, required=True)
    parser.add_argument("--photos", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    found = photos_in(chosen.folder)
    # Spread over the whole folder: its subfolders may hold different kinds of photos.
    paths = [photo.path for photo in found[:: max(1, len(found) // chosen.photos)]][: chosen.photos]
    with tempfile.TemporaryDirectory() as cache:
        files = PhotoStore(paths, chosen.longest_side)
        kept = PhotoStore(paths, chosen.longest_side, Path(cache))
        filling = per_second(kept.__getitem__, len(paths))
        rounds = [
            (per_second(files.__getitem__, len(paths)), per_second(kept.__getitem__, len(paths)))
            for _ in range(chosen.rounds)
        ]
        headers, shapes = per_second(files.shape, len(paths)), per_second(kept.shape, len(paths))
        megabytes = sum(path.stat().st_size for path in Path(cache).iterdir()) / 1e6
    sides = [max(Image.open(path).size) for path in paths]
    print(f"{len(paths)} photos, longest sides {min(sides)} to {max(sides)} px, median {statistics.median(sides):g}")
    print(f"from files      {statistics.median(each[0] for each in rounds):8.0f} photos/s")
    print(f"first time      {filling:8.0f} photos/s (decoded and stored)")
    print(f"from the cache  {statistics.median(each[1] for each in rounds):8.0f} photos/s")
    print(f"shapes          {headers:8.0f} photos/s from headers, {shapes:.0f} from the cache")
    print(f"on disk         {megabytes:8.1f} MB, {1000 * megabytes / len(paths):.0f} kB a photo")


def per_second(read: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    for index in range(count):
        read(index)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
