"""Aliases: list them, point one at a gallery, remove one."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Path, Response

from askew_client.contract.common import GalleryName
from askew_client.contract.galleries import AliasAnswer, AliasList, Deleted, SetAliasRequest
from askew_server.http.openapi import problems
from askew_server.http.responses import json_answer
from askew_server.http.routing import beyond_one_gallery, make_router
from askew_server.http.state import InState

router = make_router(prefix="/v1/aliases", tags=["aliases"])

AliasInPath = Annotated[GalleryName, Path(description="The alias.")]


@router.get("", response_model=AliasList, responses=problems(503))
@beyond_one_gallery("admin")
async def list_aliases(state: InState) -> Response:
    """List all aliases with the galleries they point at."""
    state.require_ready()
    return json_answer(AliasList(aliases=state.galleries.aliases()))


@router.put("/{alias}", response_model=AliasAnswer, responses=problems(404, 409, 422, 503, 507))
@beyond_one_gallery("admin")
async def set_alias(state: InState, alias: AliasInPath, wanted: SetAliasRequest) -> Response:
    """Point an alias at a gallery. Requests that begin after the answer go there; none fails in between."""
    state.require_ready()
    return json_answer(await asyncio.to_thread(state.galleries.set_alias, alias, wanted.gallery))


@router.delete("/{alias}", response_model=Deleted, responses=problems(404, 422, 503, 507))
@beyond_one_gallery("admin")
async def delete_alias(state: InState, alias: AliasInPath) -> Response:
    """Remove an alias. Its gallery stays."""
    state.require_ready()
    await asyncio.to_thread(state.galleries.delete_alias, alias)
    return json_answer(Deleted(deleted=alias))
