"""API keys: make, list, revoke."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from askew_client.contract.keys import CreatedKey, CreateKeyRequest, KeyList, RevokedKey
from askew_server.http.openapi import KEY_BODY, problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post(
    "", response_model=CreatedKey, status_code=201, openapi_extra=KEY_BODY, responses=problems(401, 403, 413, 422, 507)
)
async def create_key(request: Request, service: InService) -> Response:
    """Make a key. `key` in the answer is the text to send, and is never shown again."""
    wanted = CreateKeyRequest.model_validate_json(await request.body())
    created = await asyncio.to_thread(service.keys.create, wanted)
    answer = json_answer(created, 201)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("", response_model=KeyList, responses=problems(401, 403))
async def list_keys(service: InService) -> Response:
    """The keys that were not revoked, oldest first; never the keys themselves."""
    return json_answer(KeyList(keys=service.keys.listed()))


@router.delete("/{key_id}", response_model=RevokedKey, responses=problems(401, 403, 404, 507))
async def revoke_key(service: InService, key_id: str) -> Response:
    """Revoke a key, at once."""
    await asyncio.to_thread(service.keys.revoke, key_id)
    return json_answer(RevokedKey(revoked=key_id))
