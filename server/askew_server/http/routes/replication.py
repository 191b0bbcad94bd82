"""Replicas: the state of this server among them, its promotion, and the feed that replicas follow.

Replicas and their primary are servers of versions that fit, so the feed is no public interface and is not in the API's document.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Response
from fastapi.responses import FileResponse

from askew_client.contract.health import PromoteRequest, Promotion, ReplicationStatus
from askew_server.http.openapi import problems
from askew_server.http.receiving.bodies import JsonBody
from askew_server.http.responses import json_answer
from askew_server.http.routing import beyond_one_gallery, make_router
from askew_server.http.state import AppState, InState
from askew_server.replication.record import Fence
from askew_server.replication.wire import PAGE_TYPE, PrimaryState

router = make_router(prefix="/v1/replication", tags=["replication"])

Result = TypeVar("Result")

_LONGEST_WAIT = 20.0
_LOOK_EVERY_SECONDS = 0.05
_SECONDS_FOR_A_GALLERY = 0.001
"""With many galleries the primary looks for changes less often: each look reads a small file of every gallery."""

Wanted = Annotated[PromoteRequest, Depends(JsonBody(PromoteRequest, is_required=False))]
NewPrimary = Annotated[Fence, Depends(JsonBody(Fence))]
Key = Annotated[str, Query()]
Number = Annotated[int, Query(ge=0, lt=1 << 63)]
"""Of a change, as SQLite holds it."""


@router.get("", response_model=ReplicationStatus, responses=problems(503))
@beyond_one_gallery("admin")
async def read_replication(state: InState) -> Response:
    """Report whether this server is a primary or a replica, its epoch, and how far behind each gallery is."""
    state.require_ready()
    return json_answer(await state.feeding.run(lambda _: state.replication.status()))


@router.post("/promote", response_model=Promotion, responses=problems(409, 413, 415, 422, 503, 507))
@beyond_one_gallery("admin")
async def promote(state: InState, wanted: Wanted) -> Response:
    """Make this replica the primary. The old one is told to take no more changes, and its last ones are copied first."""
    state.require_ready()
    promotion = await asyncio.to_thread(
        lambda: state.replication.promote(accept_loss=wanted.accept_loss, address=wanted.address)
    )
    return json_answer(promotion)


@router.post("/fence", include_in_schema=False)
@beyond_one_gallery("admin")
async def fence(state: InState, wanted: NewPrimary, lineage: Annotated[str, Query()]) -> Response:
    """Take no more changes, as another server has become the primary; answered once none is under way."""
    state.require_ready()
    await asyncio.to_thread(state.make_way, wanted, lineage)
    return Response(status_code=204)


async def _follower(
    state: InState,
    version: Annotated[str, Query()],
    feed_format: Annotated[int, Query(alias="format")],
    lineage: Annotated[str, Query()] = "",
    epoch: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    token: Annotated[str, Query()] = "",
) -> AppState:
    """The state, for a replica that can follow. Raises Refusal (replica-refused, superseded)."""
    state.require_staying()
    await asyncio.to_thread(state.check_replica, version, feed_format, lineage, epoch, token)
    return state


ForReplica = Annotated[AppState, Depends(_follower)]


@router.get("/state", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_state(
    state: ForReplica, known: Annotated[str, Query()] = "", wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0
) -> Response:
    """The galleries, aliases and keys, once they are others than those of the mark `known`, or after `wait` seconds."""
    wait = min(wait, _LONGEST_WAIT, state.settings.request_seconds / 2)
    began = time.monotonic()
    found = await _state_now(state)
    while found.mark == known and time.monotonic() - began < wait and not state.is_leaving:
        pause = max(_LOOK_EVERY_SECONDS, _SECONDS_FOR_A_GALLERY * len(found.galleries))
        await asyncio.sleep(min(pause, max(0.0, began + wait - time.monotonic())))
        looked = time.monotonic()
        found = (await _state_now(state)).model_copy(update={"waited": looked - began})
    return json_answer(found)


@router.get("/galleries/{name}/changes", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_changes(
    state: ForReplica,
    name: str,
    key: Key,
    after: Number,
    removed_after: Number,
) -> Response:
    """The next items of a gallery after a sequence number, and which labels were removed."""
    page = await _fed(state, lambda: state.replication.feed.changes(name, key, after, removed_after).to_bytes())
    return Response(page, media_type=PAGE_TYPE)


@router.get("/galleries/{name}/summary", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_summary(state: ForReplica, name: str, key: Key, through: Number) -> Response:
    """The items up to a sequence number, summed up by range of labels."""
    return json_answer(await _fed(state, lambda: state.replication.feed.summary(name, key, through)))


@router.get("/galleries/{name}/labels", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_labels(
    state: ForReplica, name: str, key: Key, number: Annotated[int, Query(alias="range", ge=0, lt=1 << 40)]
) -> Response:
    """Label and checksum of the items of one range."""
    return json_answer(await _fed(state, lambda: state.replication.feed.labels(name, key, number)))


@router.get("/galleries/{name}/beside", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_beside(state: ForReplica, name: str, key: Key) -> Response:
    """What a gallery has beside its items: facts, encoders, probes."""
    return json_answer(await _fed(state, lambda: state.replication.feed.beside(name, key)))


@router.get("/galleries/{name}/files/{kind}/{file}", include_in_schema=False)
@beyond_one_gallery("admin")
async def read_file(state: ForReplica, name: str, kind: str, file: str) -> Response:
    """The file of a photo, of a probe's photo or of an encoder."""
    path = await _fed(state, lambda: state.replication.feed.file(name, kind, file))
    return FileResponse(path, media_type="application/octet-stream")


async def _state_now(state: AppState) -> PrimaryState:
    return await _fed(state, state.replication.feed.state)


async def _fed(state: AppState, read: Callable[[], Result]) -> Result:
    """Read for a replica, in a thread that nothing else waits for."""
    return await state.feeding.run(lambda _: read())
