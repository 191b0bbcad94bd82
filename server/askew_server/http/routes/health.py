"""Whether the server lives and is ready, what its problems mean, and its API document."""

from __future__ import annotations

from fastapi import HTTPException, Request, Response

from askew_client.contract.health import Health, Readiness, Version
from askew_client.contract.problems import ProblemKind
from askew_server.http.openapi import problems
from askew_server.http.responses import json_answer
from askew_server.http.routing import make_router, open_to_all
from askew_server.http.state import InState

router = make_router(tags=["health"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=Health)
@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_model=Health)
@open_to_all
async def live(state: InState) -> Response:
    """Report that the process lives; it may still be loading."""
    return json_answer(Health(status=state.state, version=state.version))


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=Readiness, responses=problems(503))
@open_to_all
async def ready(state: InState) -> Response:
    """Report that galleries are open and searches are answered; 503 while they are loading or the server drains.

    A server with keys does not count its galleries here, where nobody shows a key; /metrics does.
    """
    state.require_staying()
    if state.keys.guarded:
        return json_answer(Readiness(status="ok", version=state.version))
    serving, damaged = state.galleries.names(), state.galleries.damaged()
    answer = Readiness(status="ok", version=state.version, galleries=len(serving), quarantined=len(damaged))
    return json_answer(answer)


@router.get("/version", response_model=Version)
@open_to_all
async def read_version(state: InState) -> Response:
    """Report which server this is."""
    return json_answer(Version(name="askew", version=state.version, api="v1"))


@router.get("/problems/{slug}", response_class=Response, responses=problems(404))
@open_to_all
async def explain_problem(slug: str) -> Response:
    """Explain what a problem's `type` means."""
    for kind in ProblemKind:
        if kind.slug == slug:
            text = f"{kind.title} (HTTP {kind.status}, {kind.slug}).\nThe problem's `detail` says what was expected, what came, and what to do.\n"
            return Response(text, media_type="text/plain")
    raise HTTPException(404)


@router.head("/openapi.json", include_in_schema=False)
@router.get("/openapi.json", include_in_schema=False)
@open_to_all
async def openapi_document(request: Request) -> Response:
    """The OpenAPI document."""
    return Response(request.app.state.openapi_document(), media_type="application/json")
