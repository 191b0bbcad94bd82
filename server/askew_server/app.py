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

from askew_server.answers import install_problem_handlers
from askew_server.edge import Edge
from askew_server.galleries import Galleries
from askew_server.openapi import with_body_models
from askew_server.routes import encoders, galleries, health, items, search
from askew_server.service import Service
from askew_server.settings import Settings


def create_app(settings: Settings, owned: Galleries) -> ASGIApp:
    """The application over the galleries of one DATA directory; it closes them when it ends."""
    service = Service(settings, owned)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        yield
        await loading
        await service.close()

    # FastAPI's own documentation pages fetch scripts from other hosts; the document itself stays.
    app = FastAPI(
        title="Askew",
        version=version("askew-server"),
        summary="Visual search against a gallery that is never re-indexed.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for routes in (search, galleries, items, encoders, health):
        app.include_router(routes.router)
    app.mount("/page", StaticFiles(directory=str(files("askew_server") / "page")), name="page")
    install_problem_handlers(app)
    document_of = app.openapi

    def openapi() -> dict[str, Any]:
        return with_body_models(document_of())

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    return Edge(app, settings)
