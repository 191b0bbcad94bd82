"""Aliases: list them, let one name a gallery, forget one."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Response

from askew_client.contract.aliases import AliasAnswer, AliasList, Deleted, SetAliasRequest
from askew_client.contract.common import GalleryName
from askew_server.http.openapi import problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService

router = APIRouter(prefix="/v1/aliases", tags=["aliases"])

AliasInPath = Annotated[GalleryName, Path(description="The alias.")]


@router.get("", response_model=AliasList, responses=problems(503))
async def list_aliases(service: InService) -> Response:
    """All aliases, and the gallery that each one names."""
    service.require_ready()
    return json_answer(AliasList(aliases=service.galleries.aliases()))


@router.put("/{alias}", response_model=AliasAnswer, responses=problems(404, 409, 422, 503, 507))
async def set_alias(service: InService, alias: AliasInPath, wanted: SetAliasRequest) -> Response:
    """Let an alias name a gallery: every request that begins after the answer goes there, none fails between."""
    service.require_ready()
    return json_answer(await asyncio.to_thread(service.galleries.set_alias, alias, wanted.gallery))


@router.delete("/{alias}", response_model=Deleted, responses=problems(404, 422, 503, 507))
async def delete_alias(service: InService, alias: AliasInPath) -> Response:
    """Forget an alias. Its gallery stays."""
    service.require_ready()
    await asyncio.to_thread(service.galleries.delete_alias, alias)
    return json_answer(Deleted(deleted=alias))
