"""Two encoder files against each other: how long they take to describe a photo, and on which operators.

    python benchmarks/encoding.py OLD.onnx NEW.onnx [--threads 1,2] [--sizes 1024x768,4000x3000] [--rounds 15]
                                  [--photos demo/gallery]

The files take turns in one process, so that both see the same load of the machine. Times are medians, ratios the medians
of each round's; with one thread, processor time depends least on what else runs. With --photos, the lowest cosine between both files' vectors of the
folder's first fifty photos is printed, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.encoding.golden import draw_golden
from askew_client.encoding.photos import read_photo
from askew_client.encoding.runtime import load_onnxruntime

onnxruntime = load_onnxruntime()

SEED = 15
KINDS = 8
"""How many kinds of operators are printed for each size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threads", default="1", type=_numbers)
    parser.add_argument("--sizes", default="1024x768,4000x3000", type=_sizes)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--photos", type=Path)
    arguments = parser.parse_args()
    files = [arguments.old, arguments.new]
    for width, height in arguments.sizes:
        photo = draw_golden(width, height, SEED)
        for threads in arguments.threads:
            print(f"{width} × {height} px, threads: {threads}")
            _compare([Encoder(file, threads=threads) for file in files], photo, arguments.rounds)
        _print_kinds(_operator_times(files, photo, arguments.rounds))
    if arguments.photos:
        _print_lowest_cosine([Encoder(file) for file in files], arguments.photos)


def _compare(encoders: list[Encoder], photo: NDArray[np.uint8], rounds: int) -> None:
    """Print the medians of both, and of the ratio in each round, by processor time and by the clock."""
    spent = np.empty((rounds + 1, 2, 2))
    for turn in range(rounds + 1):
        # Who goes first changes, because the second one finds the photo in the processor's cache.
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.process_time(), time.perf_counter()
            encoders[place].encode_pixels(photo)
            spent[turn, place] = time.process_time() - began[0], time.perf_counter() - began[1]
    # The first round allocates.
    medians, ratios = np.median(1000 * spent[1:], axis=0), np.median(spent[1:, 1] / spent[1:, 0], axis=0)
    for clock, name in enumerate(("processor time", "elapsed")):
        old, new = medians[:, clock]
        print(f"  {name}: old {old:.1f} ms, new {new:.1f} ms, new / old {ratios[clock]:.2f}")


def _operator_times(files: list[Path], photo: NDArray[np.uint8], rounds: int) -> list[dict[str, float]]:
    """The milliseconds that each kind of operator takes for a photo, on one thread: sums of the nodes' medians."""
    with tempfile.TemporaryDirectory() as folder:
        sessions = [_profiled(file, str(Path(folder) / f"profile-{place}")) for place, file in enumerate(files)]
        for _ in range(rounds + 1):
            for session in sessions:
                session.run(["descriptor"], {"image": photo[None]})
        return [_kinds(json.loads(Path(session.end_profiling()).read_text())) for session in sessions]


def _profiled(file: Path, prefix: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = prefix
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _kinds(events: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds by kind of operator from the events of ONNX Runtime's profile."""
    by_node: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            by_node[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
    kinds: dict[str, float] = defaultdict(float)
    for (kind, _name), times in by_node.items():
        kinds[kind] += median(times[1:])
    return dict(kinds)


def _print_kinds(times: list[dict[str, float]]) -> None:
    """Print the kinds of operators that take longest in either file, and the rest as one line."""
    old, new = times
    kinds = sorted(old.keys() | new.keys(), key=lambda kind: max(old.get(kind, 0), new.get(kind, 0)), reverse=True)
    for kind in kinds[:KINDS]:
        print(f"    {kind:14} old {old.get(kind, 0):7.2f} ms, new {new.get(kind, 0):7.2f} ms")
    rest = [sum(each.get(kind, 0) for kind in kinds[KINDS:]) for each in times]
    print(f"    {'others':14} old {rest[0]:7.2f} ms, new {rest[1]:7.2f} ms")


def _print_lowest_cosine(encoders: list[Encoder], folder: Path) -> None:
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))[:50]
    cosines = []
    for path in photos:
        one, other = (encoder.encode_pixels(read_photo(path)).astype(np.float64) for encoder in encoders)
        cosines.append(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))
    print(f"lowest cosine between the vectors of {len(photos)} photos: {min(cosines):.9f}")


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _sizes(text: str) -> list[tuple[int, int]]:
    return [(int(width), int(height)) for width, _, height in (each.partition("x") for each in text.split(","))]


if __name__ == "__main__":
    main()
