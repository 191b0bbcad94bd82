"""How long encoders take to describe a photo, compared fairly on a machine that is never quite idle."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client import Encoder
from askew_client.cores import usable_cores

ROUNDS = 7
PHOTO = (1024, 768)
"""Width and height, pixels, of the photo that is described."""


def time_in_turns(encoders: Sequence[Encoder], rounds: int = ROUNDS) -> list[float]:
    """Measure milliseconds for describing a photo of `PHOTO`, decoded already: the median of `rounds`, for each encoder.

    The encoders take turns, each time in another order, so that whatever else the machine does slows all of them. Shrinking
    the photo is a part of their graphs and so of the time; a first run of each is not counted.
    """
    photo = _photo()
    for encoder in encoders:
        encoder.encode_pixels(photo)
    times = np.zeros((rounds, len(encoders)))
    for turn in range(rounds):
        for i in np.random.default_rng(turn).permutation(len(encoders)):
            start = time.perf_counter()
            encoders[i].encode_pixels(photo)
            times[turn, i] = time.perf_counter() - start
    return [float(each) for each in 1000 * np.median(times, axis=0)]


def machine() -> str:
    """The processor, and how many of its cores were used: `2 cores of Intel(R) Xeon(R)`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        named = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        named = platform.processor() or platform.machine() or "an unknown processor"
    cores = usable_cores()
    return f"{cores} core{'s' if cores != 1 else ''} of {named}"


def _photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (PHOTO[1], PHOTO[0], 3), dtype=np.uint8)
