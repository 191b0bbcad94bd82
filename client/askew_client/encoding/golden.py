"""The golden pictures: three pictures for which every machine must compute the vectors that an encoder file records.

One is larger than any common photo size, one is thin with odd sides, one is smaller. They are stored as PNG files and
can be drawn by code; a test compares the two.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from askew_client.encoding.photos import read_photo
from askew_client.forks import undivided

GOLDEN_SIZES = {"large": (1400, 1050), "thin": (333, 149), "small": (90, 120)}
"""Width and height of each golden picture."""


def golden_pictures() -> dict[str, NDArray[np.uint8]]:
    """The golden pictures by name: uint8 [H, W, 3] RGB each."""
    # importlib puts off some imports until it is first asked for a file.
    with undivided():
        folder = files("askew_client.encoding") / "golden_pictures"
    return {name: read_photo((folder / f"{name}.png").read_bytes()) for name in GOLDEN_SIZES}


def draw_golden_picture(name: str) -> NDArray[np.uint8]:
    """Draw a golden picture: uint8 [H, W, 3] RGB."""
    width, height = GOLDEN_SIZES[name]
    return draw_golden(width, height, 3 + len(name))


def draw_golden(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Draw a picture of this kind in any size: uint8 [height, width, 3] RGB.

    `seed`: places and colours a little; a golden picture has 3 + the length of its name. Integer arithmetic only, so that
    every machine draws the same.
    """
    x = np.arange(width, dtype=np.int64)[None, :] * 840 // width
    y = np.arange(height, dtype=np.int64)[:, None] * 840 // height
    sky = np.stack(np.broadcast_arrays(90 + y // 8, 120 + (x + y) // 16, 230 - y // 6), axis=-1)
    picture = sky.astype(np.int64)
    disc = (x - 610) ** 2 + (y - 180 - 10 * seed) ** 2 < (70 + 4 * seed) ** 2
    picture[disc] = (250, 214, 80)
    wall = (x > 90) & (x < 560) & (y > 330) & (y < 770)
    picture[wall] = (176, 92, 58)
    mortar = wall & ((y % 48 < 5) | ((x + (y // 48) % 2 * 40) % 80 < 5))
    picture[mortar] = (222, 208, 190)
    roof = (y > 190) & (y <= 330) & (abs(x - 325) < (y - 190) * 2)
    picture[roof] = (70, 58 + seed, 84)
    door = (x > 280) & (x < 370) & (y > 560) & (y < 770)
    picture[door] = (38, 62, 48)
    ground = np.broadcast_to(y >= 770, wall.shape)
    picture[ground] = (74, 128, 66)
    ring = abs((x - 690) ** 2 + (y - 600) ** 2 - 110**2) < 3500
    picture[ring] = (30, 40, 160)
    return picture.clip(0, 255).astype(np.uint8)


def write_golden_pictures() -> None:
    """Rewrite the PNG files of the package, after a change of `draw_golden_picture`."""
    folder = files("askew_client.encoding") / "golden_pictures"
    for name in GOLDEN_SIZES:
        Image.fromarray(draw_golden_picture(name)).save(str(folder / f"{name}.png"), optimize=True)
