"""The HTTP application: routes, the layers around them, problems, and the life of the state."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from askew_server.http.middleware.guard import Guard
from askew_server.http.middleware.limits import RequestLimits, with_cors
from askew_server.http.middleware.load_shedding import LoadShedding
from askew_server.http.middleware.observer import Observer
from askew_server.http.middleware.raw_search import RawSearch
from askew_server.http.middleware.write_gate import WriteGate
from askew_server.http.openapi import OpenApiDocument, complete_document
from askew_server.http.problems import install_problem_handlers
from askew_server.http.root_path import RootPath
from askew_server.http.routes import (
    aliases,
    encoders,
    galleries,
    health,
    index,
    items,
    jobs,
    keys,
    metrics,
    offline_pack,
    page,
    probes,
    replication,
    search,
    snapshots,
)
from askew_server.http.routing import RouteTable
from askew_server.http.state import AppState
from askew_server.observability.tracing import Tracing

_MODULES = (
    search,
    galleries,
    index,
    aliases,
    items,
    jobs,
    snapshots,
    offline_pack,
    encoders,
    probes,
    keys,
    replication,
    metrics,
    health,
    page,
)


def all_routes() -> list[APIRoute]:
    """Every route of the server, in the order in which they are matched."""
    return [route for module in _MODULES for route in module.router.routes if isinstance(route, APIRoute)]


def create_app(state: AppState, tracing: Tracing | None = None) -> ASGIApp:
    """The application over the galleries of one DATA directory; it closes them, and the tracing, when it ends."""
    settings = state.settings
    routes = RouteTable(all_routes(), state.galleries.resolve, settings.default_gallery)
    app: ASGIApp = create_fastapi(state, tracing)
    # From the innermost layer to the outermost; each reads the match that the observer made.
    app = RawSearch(app, state)
    app = WriteGate(app, state.replication.standing, state.writes)
    guard = Guard(app, state.keys, settings, state.galleries.resolve)
    app = with_cors(guard, settings)
    app = RequestLimits(app, settings)
    app = LoadShedding(app, state, guard.would_admit)
    app = Observer(
        app, routes, state.existing_gallery, state.metrics, tracing, slow_seconds=settings.slow_request_seconds
    )
    return RootPath(app, settings.root_path, routes.match) if settings.root_path else app


def create_fastapi(state: AppState, tracing: Tracing | None = None) -> FastAPI:
    """The routes, problems and life of a state; `create_app` adds the layers around them."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(state.load())
        yield
        await loading
        await state.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Askew",
        version=version("askew-server"),
        summary="Visual search against a gallery that is never re-indexed.",
        lifespan=lifespan,
        # FastAPI's documentation pages fetch scripts from other hosts, and its document is rebuilt by the request.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the host that the request claims.
        redirect_slashes=False,
        # FastAPI's own traces would carry paths and queries, so item ids and filters; ours do not (tracing.py).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.askew = state
    app.state.parsing = state.parsing
    routes = all_routes()
    # Added as they are: an included router would match a request a second time, by its own rules.
    app.router.routes.extend(routes)
    install_problem_handlers(app)
    app.state.openapi_document = _once(lambda: _document(app, routes))
    return app


def _once(make: Callable[[], OpenApiDocument]) -> Callable[[], OpenApiDocument]:
    """Make it at the first call, from whichever thread, and return it at every call."""
    lock = threading.Lock()
    made = functools.cache(make)

    def get() -> OpenApiDocument:
        with lock:
            return made()

    return get


def _document(app: FastAPI, routes: list[APIRoute]) -> OpenApiDocument:
    content = json.dumps(complete_document(app.openapi(), routes), ensure_ascii=False, separators=(",", ":")).encode()
    return OpenApiDocument(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
