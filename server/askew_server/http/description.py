"""Vectors of photos that a request brings: sent along with the photo, or described by the gallery's teacher."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from starlette.types import Receive

from askew_client.contract.wire import unpack_json
from askew_server.gallery.live import LiveGallery
from askew_server.http.receiving.photo_upload import PhotoUpload
from askew_server.http.state import AppState


async def vector_of_upload(
    state: AppState, gallery: LiveGallery, upload: PhotoUpload, receive: Receive
) -> NDArray[np.float32]:
    """The vector of an uploaded photo, float32 [D] of unit length. `receive`: of its request.

    Raises Refusal (space-mismatch, space-missing, cannot-describe, overloaded), WireError, PhotoError.
    """
    if upload.has_vector:
        gallery.check_space(upload.fields.get("space"), allow_missing=state.settings.allow_missing_space)
        return unpack_json(upload.fields["vector"], upload.fields.get("dtype"), gallery.dim)
    return await state.describe(gallery.encoders.facts.require_teacher_file(), upload.photo, receive)
