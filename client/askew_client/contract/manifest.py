"""The manifest of an encoder file, stored in the ONNX file's `metadata_props` under `askew.*`."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from askew_client.contract.errors import NotAnEncoder, UnknownManifest
from askew_client.contract.shown import ShortRepr
from askew_client.contract.space import SpaceId

FORMAT_VERSION = 1
PREFIX = "askew."
DIGEST_KEY = "askew.sha256"
SMALLEST_PHOTO_SIZE, LARGEST_PHOTO_SIZE = 96, 8_192

EncoderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
Role = Literal["teacher", "student"]
Precision = Literal["fp32", "fp16", "int8", "int8-compute"]
"""How weights are stored. The computation is in float32, except that the convolutions of int8-compute multiply bytes."""


class Manifest(ShortRepr):
    """The manifest of one encoder file.

    `dim`: components of a vector. `photo_size`: S, the longest side in pixels of the trunk's input. `scales`: the
    factors of S whose vectors are averaged. `golden`: for each of the package's golden pictures, the encoder's vector
    as base64 of little-endian float32. `tolerance`: the highest cosine distance from a golden vector at which a machine
    agrees.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    name: EncoderName
    version: EncoderName
    role: Role
    space_id: SpaceId
    dim: int = Field(ge=1, le=65_536)
    photo_size: int = Field(ge=SMALLEST_PHOTO_SIZE, le=LARGEST_PHOTO_SIZE)
    scales: list[float] = Field(min_length=1, max_length=8)
    precision: Precision
    trunk: str
    recipe: str
    data: list[dict[str, str | int | float | None]]
    metrics: dict[str, float | str]
    licence: str
    golden: dict[str, str] = Field(min_length=1, max_length=16)
    tolerance: float = Field(gt=0, le=0.01)
    derived_from: SpaceId | None = None

    @model_validator(mode="after")
    def _golden_vectors_have_dim_values(self) -> Self:
        for picture in self.golden:
            self.golden_vector(picture)
        return self

    @property
    def encoder_id(self) -> str:
        """`name@version`: what queries, galleries and URLs call this encoder."""
        return f"{self.name}@{self.version}"

    def golden_vector(self, picture: str) -> NDArray[np.float32]:
        """The recorded vector of a golden picture: float32 [dim]. Raises ValueError if it is not a unit vector."""
        content = base64.b64decode(self.golden[picture], validate=True)
        if len(content) == 4 * self.dim:
            vector = np.frombuffer(content, dtype="<f4").astype(np.float32)
            # In float64: the squares of values in a damaged file may overflow float32.
            if math.isclose(float(np.linalg.norm(vector.astype(np.float64))), 1.0, abs_tol=1e-3):
                return vector
        raise ValueError(f"expected golden vector {picture!r} to be {self.dim} float32 values of length 1")

    def to_metadata(self) -> dict[str, str]:
        """The manifest as `metadata_props`: strings as they are, everything else as JSON; without the digest."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return {
            PREFIX + name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in fields.items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> Self:
        """Read the manifest from `metadata_props`. `source`: what errors call the file.

        Raises NotAnEncoder if it is missing or invalid, UnknownManifest if it is of a newer version.
        """
        version = metadata.get(PREFIX + "format_version")
        if version is None:
            raise NotAnEncoder(f"{source} is an ONNX file without an Askew manifest. Export it with `askew export`.")
        # Eight digits are enough for all future versions; Python refuses to parse thousands of them.
        if not version.isdecimal() or len(version) > 8 or int(version) > FORMAT_VERSION:
            raise UnknownManifest(
                f"{source} has manifest version {version[:20]!r}; this Askew reads versions up to {FORMAT_VERSION}. "
                "Upgrade Askew."
            )
        fields = {
            key.removeprefix(PREFIX): _parse(key.removeprefix(PREFIX), value)
            for key, value in metadata.items()
            if key.startswith(PREFIX) and key != DIGEST_KEY
        }
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise NotAnEncoder(
                f"{source} has an invalid manifest: {where}: {first['msg']}. Export it again with `askew export`."
            ) from None


def golden_text(vector: NDArray[np.float32]) -> str:
    """A float32 [D] vector as the manifest stores it: base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def _parse(field: str, value: str) -> object:
    annotation = Manifest.model_fields[field].annotation if field in Manifest.model_fields else None
    if annotation in (str, None) or field in {
        "name",
        "version",
        "role",
        "space_id",
        "precision",
        "derived_from",
    }:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
