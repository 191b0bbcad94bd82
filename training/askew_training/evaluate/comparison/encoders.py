"""Encoder files as the sides of a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from askew_client import Encoder
from askew_training.evaluate.measurement import Side


def side_of(encoder: Encoder) -> Side:
    """What a measurement records of an encoder."""
    manifest = encoder.manifest
    return Side(
        encoder=manifest.encoder_id,
        sha256=encoder.file.sha256,
        space_id=manifest.space_id,
        dim=manifest.dim,
        photo_size=manifest.photo_size,
        scales=tuple(manifest.scales),
        recipe=manifest.recipe,
    )


def open_once(paths: Sequence[Path]) -> list[Encoder]:
    """Open encoder files on all cores, in their order, one of several that are the same. Raises what Encoder raises."""
    encoders: dict[str, Encoder] = {}
    for path in dict.fromkeys(paths):
        encoder = Encoder(path)
        encoders.setdefault(encoder.file.sha256, encoder)
    return list(encoders.values())
