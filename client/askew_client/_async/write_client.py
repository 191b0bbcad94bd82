"""Talk to an Askew server from asyncio: the part of the client that fills galleries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from numpy.typing import ArrayLike

from askew_client._async.blocking import sleep
from askew_client._async.search_client import AsyncSearchClient
from askew_client.calls import items as item_calls
from askew_client.calls import jobs as job_calls
from askew_client.calls.batches import AsyncItems, async_item_batches, id_batches, items_of, total
from askew_client.calls.bodies import PhotoFile
from askew_client.calls.search import SearchFilter
from askew_client.contract.common import Payload
from askew_client.contract.errors import ProblemError
from askew_client.contract.items import DeleteAnswer, DeleteItemsAnswer, Item, ItemPage, UpsertAnswer
from askew_client.contract.jobs import Job, JobList
from askew_client.transport.polling import Waiting


class AsyncWriteClient(AsyncSearchClient):
    """The calls that a key with the scope `write` may make: as AsyncSearchClient, and changing and listing items."""

    async def upsert(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        payloads: Sequence[Payload] | None = None,
        *,
        gallery: str,
        space: str,
    ) -> UpsertAnswer:
        """Insert or replace items by their [n, D] unit vectors, made by the gallery's teacher.

        Large sets are sent in several requests; each request is stored completely or not at all. Returns the number of
        stored items and the gallery's last sequence number. Raises WireError if a vector is not a unit vector,
        ValueError if ids, vectors and payloads differ in number or are empty.
        """
        return await self.upsert_items(items_of(ids, vectors, payloads), gallery=gallery, space=space)

    async def upsert_items(self, items: AsyncItems, *, gallery: str, space: str) -> UpsertAnswer:
        """As `upsert`, for items that are produced while they are sent: (id, vector, payload) each.

        Only the items of one request are kept in memory. Raises ValueError if there are no items.
        """
        answers = [
            await self._connections.run(item_calls.upsert(batch, gallery=gallery, space=space))
            async for batch in async_item_batches(items)
        ]
        return total(answers)

    async def upsert_photo(
        self,
        item_id: str,
        photo: PhotoFile,
        *,
        gallery: str,
        payload: Payload | None = None,
        vector: ArrayLike | None = None,
        space: str | None = None,
    ) -> UpsertAnswer:
        """Insert or replace an item with its photo.

        `vector` and `space`: the photo's [D] unit vector, made by the gallery's teacher; without it, the server
        describes the photo. Raises UnreadablePhoto, WireError.
        """
        call = item_calls.upsert_photo(item_id, photo, gallery=gallery, payload=payload, vector=vector, space=space)
        return await self._connections.run(call)

    async def upsert_photos(
        self, photos: Mapping[str, PhotoFile], payloads: Mapping[str, Payload] | None = None, *, gallery: str
    ) -> Job:
        """Insert or replace many items by their photos, which the server describes in the background: see `wait`.

        `photos` and `payloads`: by item id. Files are read while they are sent. Raises UnreadablePhoto, and ValueError
        for an id that cannot be sent as a file name.
        """
        return await self._connections.run(item_calls.upsert_photos(photos, payloads, gallery=gallery))

    async def items(
        self,
        *,
        gallery: str,
        with_vectors: bool = False,
        filter: SearchFilter | None = None,  # noqa: A002
    ) -> AsyncIterator[Item]:
        """All items in the order of their ids, or those that meet a condition, fetched a page at a time.

        Pages are smaller where the server would refuse one as too large an answer.
        """
        cursor: str | None = None
        limit = item_calls.PAGE
        while True:
            try:
                page = await self.item_page(
                    gallery=gallery, with_vectors=with_vectors, filter=filter, cursor=cursor, limit=limit
                )
            except ProblemError as error:
                limit = item_calls.smaller_page(limit, error)
                continue
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    async def item_page(
        self,
        *,
        gallery: str,
        with_vectors: bool = False,
        filter: SearchFilter | None = None,  # noqa: A002
        cursor: str | None = None,
        limit: int = item_calls.PAGE,
    ) -> ItemPage:
        """Up to `limit` items (at most 1,000) in the order of their ids, the cursor of the next page, and the filter's unknown fields."""
        call = item_calls.page(gallery=gallery, condition=filter, with_vectors=with_vectors, cursor=cursor, limit=limit)
        return await self._connections.run(call)

    async def delete_item(self, item_id: str, *, gallery: str) -> DeleteAnswer:
        """Delete an item and its photo."""
        return await self._connections.run(item_calls.delete_item(item_id, gallery=gallery))

    async def delete_items(
        self,
        ids: Sequence[str] | None = None,
        *,
        gallery: str,
        filter: SearchFilter | None = None,  # noqa: A002
    ) -> DeleteItemsAnswer:
        """Delete the items with these ids, or all that meet a condition. Unknown ids are ignored.

        Returns how many were deleted, the gallery's last sequence number and the `unknown_ids`. Raises ValueError if `ids` is empty.
        """
        answers = [
            await self._connections.run(item_calls.delete_items(batch, filter, gallery=gallery))
            for batch in id_batches(ids)
        ]
        return DeleteItemsAnswer(
            deleted=sum(each.deleted for each in answers),
            sequence=answers[-1].sequence,
            unknown_fields=answers[-1].unknown_fields,
            unknown_ids=[each for answer in answers for each in answer.unknown_ids],
        )

    async def jobs(self, *, gallery: str | None = None, limit: int = 100) -> JobList:
        """The newest jobs first, of one gallery or of all, without their results."""
        return await self._connections.run(job_calls.jobs(gallery=gallery, limit=limit))

    async def job(self, job_id: str) -> Job:
        """One job: its state, its progress, and its result once it is done."""
        return await self._connections.run(job_calls.job(job_id))

    async def cancel_job(self, job_id: str) -> Job:
        """Cancel a job: at once if it is waiting, within about a second if it is running. Finished work is kept."""
        return await self._connections.run(job_calls.cancel_job(job_id))

    async def wait(
        self, job: Job | str, *, timeout: float | None = None, progress: Callable[[Job], None] | None = None
    ) -> Job:
        """Wait until a job is done, and return it with its result.

        `timeout`: seconds; None: no limit. `progress` is called with the job after each look at it. Raises JobFailed if
        the job fails or is cancelled, JobUnfinished after `timeout` seconds.
        """
        waiting = Waiting(timeout, progress)
        job_id = job if isinstance(job, str) else job.id
        while True:
            seen = await self.job(job_id)
            if waiting.is_over(seen):
                return seen
            await sleep(waiting.pause())
