"""Wire models of a gallery's index: its kind, its cost, and the kind that is wanted."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

IndexKind = Literal["exact", "two-stage", "ivf-two-stage", "gpu-exact", "milvus"]
WantedKind = Literal["auto", "exact", "two-stage", "ivf-two-stage", "gpu-exact"]


class IndexEstimate(BaseModel):
    """An estimate of what an index needs: permanently (memory, mapped files, GPU memory), and while it is built."""

    bytes_memory: int
    bytes_mapped: int
    build_bytes_memory: int
    build_bytes_disk: int
    bytes_gpu: int = 0


class GpuDescription(BaseModel):
    """What the GPU does for a gallery that should be searched there; until it is ready, the CPU's index answers.

    `reason`: why it is unavailable. `lost`: how many of its processes ended while they served. `vectors`: that it holds.
    `engine`: the versions of FAISS and Python.
    """

    state: Literal["starting", "ready", "unavailable"]
    reason: str | None = None
    lost: int = 0
    vectors: int = 0
    engine: str | None = None


class IndexDescription(BaseModel):
    """The index that finds a gallery's nearest vectors.

    `wanted`: the kind that was requested; `chosen`: the kind for the gallery's present size; `kind`: the one that
    answers now. `main`, `tail`: vectors in the main segment and outside it; `removed`: deleted vectors that still take
    space. `bytes_mapped`: files that the operating system pages in and out; `bytes_memory`: everything else.
    `recall_at_10`: measured when the main segment was built, absent if every search is exact. `state`: whether the
    saved files are undamaged. `estimate`: for the chosen kind. `failure`: why the last rebuild failed, or
    that a change is not in the index yet. `gpu`: absent unless the index should be on the GPU.
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
    gpu: GpuDescription | None = None


class ChooseIndexRequest(BaseModel):
    """The JSON body of `PUT …/index`: the kind of index that is wanted."""

    model_config = ConfigDict(extra="forbid")

    kind: WantedKind
