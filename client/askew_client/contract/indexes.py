"""Wire models of a gallery's index: its kind, its cost, and the kind that is wanted."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

IndexKind = Literal["exact", "two-stage", "ivf-two-stage", "gpu-exact", "milvus"]
WantedKind = Literal["auto", "exact", "two-stage", "ivf-two-stage", "gpu-exact"]


class IndexEstimate(BaseModel):
    """An estimate of what an index needs: permanently (memory and mapped files), and while it is built."""

    bytes_memory: int
    bytes_mapped: int
    build_bytes_memory: int
    build_bytes_disk: int


class IndexDescription(BaseModel):
    """The index that finds a gallery's nearest vectors.

    `wanted`: the kind that was requested; `chosen`: the kind for the gallery's present size; `kind`: the one that
    answers now. `main`, `tail`: vectors in the main segment and outside it; `removed`: deleted vectors that still take
    space. `bytes_mapped`: files that the operating system pages in and out; `bytes_memory`: everything else.
    `recall_at_10`: measured when the main segment was built, absent if every search is exact. `state`: whether the
    saved files are undamaged. `estimate`: for the chosen kind. `failure`: why the last rebuild failed.
    """

    gallery: str
    wanted: WantedKind
    chosen: IndexKind
    kind: IndexKind
    exact: bool
    vectors: int
    main: int
    tail: int
    removed: int
    bytes_memory: int
    bytes_mapped: int
    k_factor: float | None = None
    recall_at_10: float | None = None
    generation: int
    state: Literal["ready", "unverified", "damaged"]
    building: bool
    estimate: IndexEstimate
    failure: str | None = None


class ChooseIndexRequest(BaseModel):
    """The JSON body of `PUT …/index`: the kind of index that is wanted."""

    model_config = ConfigDict(extra="forbid")

    kind: WantedKind
