"""The web app at `/`, the operator's view at `/admin` and the API's reference at `/docs`: their files, with the policies
that browsers enforce for them.
"""

from __future__ import annotations

import asyncio

from fastapi import HTTPException, Request, Response

from askew_server.http.pages.page_files import PageFile
from askew_server.http.responses import FileAnswer, is_known
from askew_server.http.routing import make_router, open_to_all
from askew_server.http.state import AppState, InState
from askew_server.settings import Settings

router = make_router(tags=["page"])

_POLICY = "; ".join(
    [
        "default-src 'none'",
        # WebAssembly may be compiled; no other code is made from text.
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
# Swagger UI compiles nothing, and has its icons in its style, as data: addresses.
_DOCS_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_IMMUTABLE = "public, max-age=31536000, immutable"


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
@open_to_all
async def page(request: Request, state: InState) -> Response:
    """The web app: it describes photos on the device and searches with their vectors."""
    return await _answer(request, state, "index.html")


@router.head("/sw.js", include_in_schema=False)
@router.get("/sw.js", include_in_schema=False)
@open_to_all
async def service_worker(request: Request, state: InState) -> Response:
    """The web app's service worker. It lies beside the app, because it may answer only for what lies below itself."""
    return await _answer(request, state, "sw.js")


@router.head("/admin", include_in_schema=False)
@router.get("/admin", include_in_schema=False)
@open_to_all
async def admin_page(request: Request, state: InState) -> Response:
    """The operator's view. It holds no data: each of its calls needs the key that it asks for."""
    return await _answer(request, state, "admin.html")


@router.head("/admin/", include_in_schema=False)
@router.get("/admin/", include_in_schema=False)
@open_to_all
async def admin_page_with_slash() -> Response:
    """Lead to `/admin`, below whichever prefix: the page's relative addresses start there."""
    return Response(status_code=308, headers={"Location": "../admin"})


@router.head("/docs", include_in_schema=False)
@router.get("/docs", include_in_schema=False)
@open_to_all
async def docs_page(request: Request, state: InState) -> Response:
    """The API's reference, made in the browser from `/openapi.json`."""
    return await _answer(request, state, "docs.html")


@router.head("/docs/", include_in_schema=False)
@router.get("/docs/", include_in_schema=False)
@open_to_all
async def docs_page_with_slash() -> Response:
    """Lead to `/docs`, below whichever prefix."""
    return Response(status_code=308, headers={"Location": "../docs"})


@router.head("/page/{path:path}", include_in_schema=False)
@router.get("/page/{path:path}", include_in_schema=False)
@open_to_all
async def page_file(request: Request, state: InState, path: str) -> Response:
    """A file of the web app or of another page."""
    return await _answer(request, state, path)


async def _answer(request: Request, state: AppState, name: str) -> Response:
    file = await asyncio.to_thread(state.page_files.read, name)
    if file is None:
        raise HTTPException(404)
    compressed = file.compressed if _takes_gzip(request.headers.get("accept-encoding", "")) else None
    headers = _headers(file, state.settings, is_compressed=compressed is not None)
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if compressed is None:
        return FileAnswer(file.path, media_type=file.media_type, headers=headers)
    return Response(compressed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})


def _headers(file: PageFile, settings: Settings, *, is_compressed: bool) -> dict[str, str]:
    headers = {
        "Cache-Control": _IMMUTABLE if file.never_changes else "no-cache",
        # Two forms of a file are two versions.
        "ETag": f'"{file.digest}{"-gzip" if is_compressed else ""}"',
        "Vary": "Accept-Encoding",
        # For every file: a worker has the policy of its own script.
        "Content-Security-Policy": _DOCS_POLICY if file.path.name.startswith("docs") else _POLICY,
        "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
    }
    if settings.cross_origin_isolation:
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    return headers


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.split(","):
        name, _, parameters = coding.partition(";")
        if name.strip().lower() in {"gzip", "*"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
