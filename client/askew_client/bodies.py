"""What the client puts into requests: path segments, search options, vectors and photos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import check_vector
from askew_client.errors import UnreadablePhoto, WireError

SearchFilter = Mapping[str, JsonValue]
"""A condition on payloads as JSON has it, for example {"field": "kind", "eq": "landmark"}."""


def segment(text: str) -> str:
    """One segment of a path, whatever the text holds: `a/b` becomes `a%2Fb`."""
    # Dots alone would be taken for "here" and "one up".
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def gallery_path(gallery: str | None) -> str:
    """Where a gallery's paths begin; the default gallery's searches begin at the root."""
    return "" if gallery is None else f"/v1/galleries/{segment(gallery)}"


def item_path(gallery: str, item_id: str) -> str:
    """The path of one item."""
    return f"{gallery_path(gallery)}/items/{segment(item_id)}"


def search_options(
    limit: int, score_threshold: float | None, max_false_match: float | None, search_filter: SearchFilter | None
) -> dict[str, JsonValue]:
    """The options of a search as JSON members; the server checks them."""
    options: dict[str, JsonValue] = {"limit": limit}
    if score_threshold is not None:
        options["score_threshold"] = score_threshold
    if max_false_match is not None:
        options["max_false_match"] = max_false_match
    if search_filter is not None:
        options["filter"] = dict(search_filter)
    return options


def query_parameters(options: Mapping[str, JsonValue]) -> dict[str, str]:
    """The same options as query parameters: the filter as JSON text."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}


def checked_vector(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A float32 [D] unit vector, checked before it is sent. Raises WireError."""
    if vector.ndim != 1:
        raise WireError(
            ProblemKind.DIMENSION_MISMATCH,
            f"Expected one vector, [D], got an array of shape {list(vector.shape)}. Encoder.encode returns [n, D].",
        )
    as_float32 = np.asarray(vector, dtype=np.float32)
    check_vector(as_float32)
    return as_float32


def photo_bytes(photo: str | Path | bytes) -> bytes:
    """The bytes of a photo file. Raises UnreadablePhoto."""
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise UnreadablePhoto(f"{photo} cannot be read: {error.strerror}.") from None
