"""What the layers around the routes know of a request, under one key of its scope."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from askew_server.auth.access import Access
from askew_server.gallery.answer_size import AnswerSize, AnswersUnderWay
from askew_server.http.routing import RouteMatch
from askew_server.observability.request_record import RequestRecord


def _unlimited() -> AnswerSize:
    return AnswerSize(sys.maxsize, AnswersUnderWay(sys.maxsize))


@dataclass
class RequestContext:
    """A request on its way: what is recorded of it, which route it is for, what its sender may see, and the size of its
    answer, which the limits set.
    """

    record: RequestRecord
    match: RouteMatch
    access: Access
    size: AnswerSize = field(default_factory=_unlimited)


def context_of(scope: Scope) -> RequestContext:
    """The context of a request that came through the observer."""
    context = scope["askew"]
    assert isinstance(context, RequestContext)
    return context


def request_id_of(scope: Scope) -> str | None:
    """The id that a request is logged and answered under; None if there is no observer."""
    context = scope.get("askew")
    return context.record.request_id if isinstance(context, RequestContext) else None


async def _context_of(request: Request) -> RequestContext:
    return context_of(request.scope)


async def _access_of(request: Request) -> Access:
    return context_of(request.scope).access


InContext = Annotated[RequestContext, Depends(_context_of)]
InAccess = Annotated[Access, Depends(_access_of)]
