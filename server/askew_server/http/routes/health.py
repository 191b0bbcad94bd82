"""Whether the server lives, whether it is ready, what its problems mean, and the page at `/`."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, HTTPException, Response

from askew_client.contract.health import Health, Readiness, Version
from askew_client.contract.problems import ProblemKind
from askew_server.http.openapi import problems
from askew_server.http.responses import json_answer
from askew_server.http.state import InService

router = APIRouter(tags=["health"])

_PAGE_POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=Health)
@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_model=Health)
async def live(service: InService) -> Response:
    """The process lives; it may still be loading."""
    return json_answer(Health(status=service.state, version=service.version))


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=Readiness, responses=problems(503))
async def ready(service: InService) -> Response:
    """The galleries are open and searches are answered; 503 while they are loaded, and while the server drains."""
    service.require_staying()
    serving, damaged = service.galleries.names(), service.galleries.damaged()
    answer = Readiness(status="ok", version=service.version, galleries=len(serving), quarantined=len(damaged))
    return json_answer(answer)


@router.get("/version", response_model=Version)
async def tell_version(service: InService) -> Response:
    """Which server this is."""
    return json_answer(Version(name="askew", version=service.version, api="v1"))


@router.get("/problems/{slug}", response_class=Response, responses=problems(404))
async def explain_problem(slug: str) -> Response:
    """What a problem's `type` means."""
    for kind in ProblemKind:
        if kind.slug == slug:
            text = f"{kind.title} (HTTP {kind.status}, {kind.slug}).\nThe problem's `detail` says what was expected, what came, and what to do.\n"
            return Response(text, media_type="text/plain")
    raise HTTPException(404)


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The plain page: the gallery, and search by an uploaded photo."""
    html = (files("askew_server.http") / "page" / "index.html").read_bytes()
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})
