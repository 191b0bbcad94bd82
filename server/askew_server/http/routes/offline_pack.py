"""The offline pack of a gallery: allow, describe, download, make again, withdraw."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from askew_client.contract.galleries import Deleted
from askew_client.contract.jobs import Job
from askew_client.contract.offline_pack import PACK_MEDIA_TYPE, OfflinePackDescription, OfflinePackPolicy
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.http.context import request_id_of
from askew_server.http.openapi import file_answers, problems
from askew_server.http.problems import ProblemAnswer
from askew_server.http.responses import FileAnswer, is_known, job_answer, json_answer
from askew_server.http.routing import make_router, of_one_gallery
from askew_server.http.state import InGallery, InState
from askew_server.problems import ErrorReport

router = make_router(prefix="/v1/galleries/{gallery}/offline-pack", tags=["offline packs"])


class _PackAnswer(FileAnswer):
    """The file of a pack, which may be withdrawn before it is opened."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises Refusal (no-offline-pack)."""
        try:
            await super().__call__(scope, receive, send)
        except (RuntimeError, FileNotFoundError):
            if await asyncio.to_thread(Path(self.path).exists):
                raise
            detail = "The offline pack was replaced or withdrawn while it was being opened. Read its description again."
            extras: dict[str, object] = {"allowed": True, "building": None}
            raise Refusal(ProblemKind.NO_OFFLINE_PACK, detail, extras, retry_after=1) from None


@router.put("", response_model=Job, status_code=202, responses=problems(404, 422, 429, 503, 507))
@of_one_gallery("admin")
async def allow_offline_pack(state: InState, gallery: InGallery, policy: OfflinePackPolicy) -> Response:
    """Allow a pack, say which payload fields and thumbnails may leave the server, and make it in the background.

    A pack that holds more than that is not served any more. The job's result is an OfflinePackResult.
    """
    return job_answer(await state.files.run(lambda _: state.offline_packs.allow(gallery, policy)))


@router.get("", response_model=OfflinePackDescription, responses=problems(404, 503))
@of_one_gallery("search")
async def describe_offline_pack(state: InState, gallery: InGallery) -> Response:
    """Describe the pack. If the gallery has changed and the pack is old enough, a new one is made in the background."""
    sequence = await gallery.read(lambda reader, _: reader.sequence)
    return json_answer(await state.files.run(lambda _: state.offline_packs.describe(gallery, sequence)))


@router.post("", response_model=Job, status_code=202, responses=problems(404, 422, 429, 503, 507))
@of_one_gallery("admin")
async def make_offline_pack(state: InState, gallery: InGallery) -> Response:
    """Make the pack again now. The older one is served until the new one is complete."""
    return job_answer(await state.files.run(lambda _: state.offline_packs.make(gallery)))


@router.delete("", response_model=Deleted, responses=problems(404, 503))
@of_one_gallery("admin")
async def withdraw_offline_pack(state: InState, gallery: InGallery) -> Response:
    """Allow no pack any more and remove it. Devices delete their copy when they next ask for it."""
    await state.files.run(lambda _: state.offline_packs.withdraw(gallery))
    return json_answer(Deleted(deleted=gallery.name))


@router.head("/file", include_in_schema=False)
@router.get(
    "/file", response_class=FileAnswer, responses={**file_answers(PACK_MEDIA_TYPE), **problems(404, 412, 416, 503)}
)
@of_one_gallery("search")
async def get_offline_pack(request: Request, state: InState, gallery: InGallery) -> Response:
    """Download the pack. Its ETag is its SHA-256; Range, If-Range and If-Match are answered."""
    path, sha256 = await state.files.run(lambda _: state.offline_packs.file(gallery))
    etag = f'"{sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and etag not in [each.strip() for each in wanted.split(",")]:
        detail = (
            f"Expected the pack {wanted[:80]}, but gallery {gallery.name!r} has another one by now. Read its description "
            f"(GET /v1/galleries/{gallery.name}/offline-pack) and begin again."
        )
        answer = ProblemAnswer(ErrorReport(ProblemKind.HTTP, detail), request_id_of(request.scope), status=412)
        answer.headers.update(headers)
        return answer
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    return _PackAnswer(path, media_type=PACK_MEDIA_TYPE, headers=headers, filename=f"{gallery.name}.pack")
