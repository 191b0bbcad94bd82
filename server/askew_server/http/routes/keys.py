"""API keys: make, list, revoke."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends, Response

from askew_client.contract.keys import CreatedKey, CreateKeyRequest, KeyList, RevokedKey
from askew_server.http.openapi import problems
from askew_server.http.receiving.bodies import JsonBody
from askew_server.http.responses import json_answer
from askew_server.http.routing import beyond_one_gallery, make_router
from askew_server.http.state import InState

router = make_router(prefix="/v1/keys", tags=["keys"])

NewKey = Annotated[CreateKeyRequest, Depends(JsonBody(CreateKeyRequest, checks_type=False))]


@router.post("", response_model=CreatedKey, status_code=201, responses=problems(401, 403, 413, 422, 507))
@beyond_one_gallery("admin")
async def create_key(state: InState, wanted: NewKey) -> Response:
    """Make a key. `key` in the answer is the text to send, and is never shown again."""
    created = await asyncio.to_thread(state.keys.create, wanted)
    answer = json_answer(created, 201)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("", response_model=KeyList, responses=problems(401, 403))
@beyond_one_gallery("admin")
async def list_keys(state: InState) -> Response:
    """List the keys that are not revoked, oldest first; never the keys themselves."""
    return json_answer(KeyList(keys=state.keys.describe_all()))


@router.delete("/{key_id}", response_model=RevokedKey, responses=problems(401, 403, 404, 507))
@beyond_one_gallery("admin")
async def revoke_key(state: InState, key_id: str) -> Response:
    """Revoke a key; it stops working with the next request."""
    await asyncio.to_thread(state.keys.revoke, key_id)
    return json_answer(RevokedKey(revoked=key_id))
