"""Whether the server lives and is ready, what its problems mean, and its API document."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException, Request, Response

from askew_client.contract.health import Health, Readiness, Version
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.http.openapi import problems
from askew_server.http.pages.problem_page import POLICY, STYLE, problem_html, problem_style, problem_text, wants_html
from askew_server.http.responses import is_known, json_answer
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
    """Report that galleries are open and searches are answered; 503 while they are loading, the server drains, or a Milvus does
    not answer, and on a replica that is too far behind its primary.

    A server with keys does not count its galleries here, where nobody shows a key; /metrics does.
    """
    state.require_staying()
    trouble = state.replication.trouble(state.settings.ready_staleness)
    if trouble is not None:
        raise Refusal(ProblemKind.NOT_READY, trouble, retry_after=1)
    outages = state.galleries.outages()
    if outages:
        # Anybody may ask: what names galleries and machines is in the log alone.
        hidden = "A Milvus that this server needs does not answer, or not as it should; the server's log says more."
        reason = hidden if state.keys.guarded else next(iter(outages.values()))
        raise Refusal(ProblemKind.NOT_READY, reason, retry_after=3)
    # Anybody may ask: what names galleries and folders is in the log alone.
    warnings = [warning.public for warning in state.warnings()]
    progress = state.replication.progress
    staleness = None if progress is None else progress.staleness()
    if state.keys.guarded:
        return json_answer(
            Readiness(status="ok", version=state.version, warnings=warnings, staleness_seconds=staleness)
        )
    serving, damaged = state.galleries.names(), state.galleries.damaged()
    answer = Readiness(
        status="ok",
        version=state.version,
        galleries=len(serving),
        quarantined=len(damaged),
        warnings=warnings,
        staleness_seconds=staleness,
    )
    return json_answer(answer)


@router.get("/version", response_model=Version)
@open_to_all
async def read_version(state: InState) -> Response:
    """Report which server this is."""
    return json_answer(Version(name="askew", version=state.version, api="v1"))


@router.get(f"/problems/{STYLE}", include_in_schema=False)
@open_to_all
async def problem_page_style() -> Response:
    """The style of the pages about problems."""
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(problem_style(), headers=headers, media_type="text/css")


@router.get("/problems/{slug}", response_class=Response, responses=problems(404))
@open_to_all
async def explain_problem(request: Request, slug: str) -> Response:
    """Explain what a kind of problem means, to which its `type` leads: as HTML for browsers, as text for programs."""
    kind = next((each for each in ProblemKind if each.slug == slug), None)
    if kind is None:
        raise HTTPException(404)
    headers = {"Vary": "Accept", "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    if wants_html(request.headers.get("accept", "")):
        return Response(problem_html(kind), headers=headers, media_type="text/html")
    return Response(problem_text(kind), headers=headers, media_type="text/plain")


@router.head("/openapi.json", include_in_schema=False)
@router.get("/openapi.json", include_in_schema=False)
@open_to_all
async def openapi_document(request: Request) -> Response:
    """The OpenAPI document."""
    # Made once, in a thread: that takes as long as a hundred searches.
    document = await asyncio.to_thread(request.app.state.openapi_document)
    headers = {"ETag": document.etag, "Cache-Control": "no-cache"}
    if is_known(request, document.etag):
        return Response(status_code=304, headers=headers)
    return Response(document.content, media_type="application/json", headers=headers)
