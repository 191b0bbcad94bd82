"""The two encoders of a measurement: what is recorded of them, and whether their vectors can be compared."""

from __future__ import annotations

from askew_client import Encoder
from askew_training.errors import DataError
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


def check_one_space(queries: Encoder, gallery: Encoder, allow_foreign_space: bool) -> bool:
    """Whether the encoders describe in two spaces, which `allow_foreign_space` permits for science.

    Raises DataError if they do and it does not, and for vectors of two dimensions.
    """
    if queries.manifest.dim != gallery.manifest.dim:
        raise DataError(
            f"{queries.path} describes in {queries.manifest.dim} dimensions, and {gallery.path} in {gallery.manifest.dim}. "
            "Expected two encoders of one space."
        )
    if queries.space_id == gallery.space_id:
        return False
    if not allow_foreign_space:
        raise DataError(
            f"{queries.path} describes in space {queries.space_id}, and {gallery.path} in space {gallery.space_id}. Expected "
            "two encoders of one space. To measure how badly two spaces fit, give --allow-foreign-space; the result is marked."
        )
    return True
