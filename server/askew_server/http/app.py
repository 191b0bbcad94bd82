"""The HTTP application: routes, problems, the page, and the life of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from askew_server.http.middleware.guard import Guard
from askew_server.http.middleware.limits import Edge, with_cors
from askew_server.http.middleware.load_shedding import Shedding
from askew_server.http.middleware.observer import Observer, RouteNoted
from askew_server.http.middleware.raw_search import RawSearch
from askew_server.http.openapi import with_body_models, with_common_answers
from askew_server.http.problems import install_problem_handlers
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
    probes,
    search,
    snapshots,
)
from askew_server.http.state import Service
from askew_server.observability.tracing import Tracing

_ROUTES = (search, galleries, index, aliases, items, jobs, snapshots, encoders, probes, keys, metrics, health)


def create_app(service: Service, tracing: Tracing | None = None) -> ASGIApp:
    """The application over the galleries of one DATA directory; it closes them, and the tracing, when it ends."""
    settings = service.settings
    app = create_fastapi(service, tracing)
    guarded = with_cors(Guard(RawSearch(app, service), service.keys, settings, service.galleries.resolve), settings)
    routes = [route for module in _ROUTES for route in module.router.routes]
    edge = Edge(RouteNoted(guarded, routes, service.known_name), settings)
    return Observer(Shedding(edge, service), service.metrics, tracing, slow_seconds=settings.slow_request_seconds)


def create_fastapi(service: Service, tracing: Tracing | None = None) -> FastAPI:
    """The routes, problems and life of a service; the layers around them are of `create_app`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        yield
        await loading
        await service.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    # FastAPI's own documentation pages fetch scripts from other hosts; the document itself stays.
    app = FastAPI(
        title="Askew",
        version=version("askew-server"),
        summary="Visual search against a gallery that is never re-indexed.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would name whatever host the request named.
        redirect_slashes=False,
        # FastAPI's own traces would carry paths and queries, so item ids and filters; ours do not (tracing.py).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    for module in _ROUTES:
        app.include_router(module.router)
    app.mount("/page", StaticFiles(directory=str(files("askew_server.http") / "page")), name="page")
    install_problem_handlers(app)
    document_of = app.openapi

    def openapi() -> dict[str, Any]:
        return with_common_answers(with_body_models(document_of()))

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return app
