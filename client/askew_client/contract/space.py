"""The name of a vector space: computed once from the teacher; students, galleries and queries carry and compare it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import StringConstraints

SPACE_ID_PATTERN = r"^sp1-[0-9a-f]{32}$"
SpaceId = Annotated[str, StringConstraints(pattern=SPACE_ID_PATTERN)]


def is_space_id(text: str) -> bool:
    """Whether a text has the form of a space id: `sp1-` and 32 hex digits."""
    return re.fullmatch(SPACE_ID_PATTERN[1:-1], text) is not None


def space_id(
    *, dim: int, pooling: Mapping[str, object], whitened: bool, tensors: Mapping[str, NDArray[np.float32]]
) -> str:
    """Name the space that a teacher defines.

    `dim`: components of a vector. `pooling`: its name and parameters, JSON values. `whitened`: whether a linear
    layer follows the pooling. `tensors`: the teacher's un-folded state dict as float32 arrays by name, without counters
    (`num_batches_tracked`). Photo size, scales and precision are not part of a space.

    The id is `sp1-` and the first 32 hex digits of the SHA-256 of a canonical JSON of the first three, followed by each
    tensor's name, shape and little-endian float32 bytes, sorted by name. Raises ValueError for a counter or a tensor of
    another dtype.
    """
    header = {"dim": dim, "pooling": dict(pooling), "whitened": whitened}
    digest = hashlib.sha256(_canonical_json(header))
    for name in sorted(tensors):
        tensor = tensors[name]
        if name.endswith("num_batches_tracked"):
            raise ValueError(f"expected tensors without counters, got {name}; leave it out")
        if tensor.dtype != np.float32:
            raise ValueError(f"expected {name} to be float32, got {tensor.dtype}")
        digest.update(_canonical_json({"name": name, "shape": list(tensor.shape)}))
        digest.update(np.ascontiguousarray(tensor, dtype="<f4").tobytes())
    return f"sp1-{digest.hexdigest()[:32]}"


def _canonical_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
