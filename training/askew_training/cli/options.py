"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import typer

from askew_client.contract.manifest import LARGEST_PHOTO_SIZE as LARGEST_PHOTO_SIZE

MAX_SCALES = 8
SMALLEST_SCALE = 0.1
LARGEST_SCALE = 4.0


def parse_scales(text: str, option: str = "--scales") -> tuple[float, ...]:
    """Parse `1`, `3`, or a list of factors such as `1.4142,1,0.7071`. Raises typer.BadParameter, which names `option`."""
    from askew_training.networks.network import THREE_SCALES

    if text == "3":
        return THREE_SCALES
    try:
        factors = tuple(float(factor) for factor in text.split(","))
    except ValueError:
        factors = ()
    # A single factor would be the same as another photo size; an encoder file holds up to eight. The shorter side of a photo
    # may be 32 px: far below a tenth of that is no pixel.
    several = 2 <= len(factors) <= MAX_SCALES and all(SMALLEST_SCALE <= factor <= LARGEST_SCALE for factor in factors)
    if factors != (1.0,) and not several:
        raise typer.BadParameter(
            "expected 1, 3, or two to eight factors from 0.1 to 4, such as 1.4142,1,0.7071", param_hint=option
        )
    return factors


def descriptor_folder(folder: Path | None) -> Path:
    """The folder for vectors of photos: the user's, or the default one."""
    return folder or Path.home() / ".cache" / "askew" / "descriptors"
