"""Talk to an Askew server from asyncio: the part of the client that searches and reads, as a phone does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from numpy.typing import ArrayLike

from askew_client._async.blocking import run_blocking
from askew_client._async.connections import AsyncConnections
from askew_client.calls import encoders as encoder_calls
from askew_client.calls import galleries as gallery_calls
from askew_client.calls import health as health_calls
from askew_client.calls import items as item_calls
from askew_client.calls import offline_packs as pack_calls
from askew_client.calls import search as search_calls
from askew_client.calls.batches import id_batches
from askew_client.calls.bodies import PhotoFile
from askew_client.calls.search import SearchFilter, SearchParams, SimilarParams, check_options
from askew_client.contract.encoders import EncoderDescription, EncoderList, Runtime
from askew_client.contract.errors import ClientMisused
from askew_client.contract.galleries import GalleryDescription, GalleryList
from askew_client.contract.health import Health, Readiness, Version
from askew_client.contract.indexes import IndexDescription
from askew_client.contract.items import CountItemsAnswer, Item
from askew_client.contract.manifest import Manifest
from askew_client.contract.offline_pack import OfflinePackDescription
from askew_client.contract.search import BatchSearchAnswer, SearchAnswer
from askew_client.transport.downloads import Download, encoder_check, pack_check

if TYPE_CHECKING:
    from askew_client.encoding.encoder import Encoder
    from askew_client.encoding.photos import Photo


class AsyncSearchClient:
    """The calls that a key with the scope `search` may make. `AsyncClient` has these and all others."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10,
        retries: int = 3,
        key: str | None = None,
        ca: str | Path | None = None,
    ) -> None:
        """Prepare to talk to the server at `url`; nothing is sent yet.

        `timeout`: seconds to wait for a connection, and for an answer. `retries`: how often a request is sent again
        after a broken connection or the status 429, 502, 503 or 504 (a call that must not happen twice only if it never
        reached the server, or after 429); Retry-After is honoured. `key`: an API key. `ca`: a PEM file of certificates to
        trust besides the well-known authorities, or those in SSL_CERT_FILE. The proxies of the environment are used.
        Raises ServerUnreachable if `url` is not an http(s) address, ClientMisused if `key`, `ca` or a proxy cannot be used.
        """
        self.url = url
        self._connections = AsyncConnections(url, timeout=timeout, retries=retries, key=key, ca=ca)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connections.address!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Later calls raise ClientMisused."""
        await self._connections.close()

    async def health(self) -> Readiness:
        """Whether the server is ready to answer searches. Raises Overloaded while it is loading or draining."""
        return await self._connections.run(health_calls.ready())

    async def alive(self) -> Health:
        """Whether the server's process runs, ready or not."""
        return await self._connections.run(health_calls.alive())

    async def version(self) -> Version:
        """The server's name and version, and the version of its API."""
        return await self._connections.run(health_calls.version())

    async def explain_problem(self, slug: str) -> str:
        """The server's page about a kind of problem. `slug`: `error.problem.slug` of a ProblemError."""
        return await self._connections.run(health_calls.problem(slug))

    async def search_with(
        self, encoder: Encoder, photo: Photo, *, gallery: str | None = None, **options: Unpack[SearchParams]
    ) -> SearchAnswer:
        """Describe a photo on this machine and search with its vector; the photo itself is not sent.

        As `search`. Raises PhotoError for a photo that cannot be described.
        """
        check_options("search_with", options)
        vector = await run_blocking(encoder.encode, photo)
        return await self.search(
            vector, space=encoder.space_id, encoder=encoder.manifest.encoder_id, gallery=gallery, **options
        )

    async def search(
        self,
        vector: ArrayLike,
        *,
        space: str,
        encoder: str | None = None,
        gallery: str | None = None,
        **options: Unpack[SearchParams],
    ) -> SearchAnswer:
        """Search a gallery with one [D] unit vector, an array, list, tuple or tensor; it is sent as float16.

        `space`: the space that the vector lies in. `encoder`: `name@version` of the encoder that made it. `gallery`:
        None for the server's default gallery. `options`: see SearchParams. Raises WireError if the vector is not a unit
        vector, TypeError for an unknown option.
        """
        call = search_calls.search(vector, options, space=space, encoder=encoder, gallery=gallery)
        return await self._connections.run(call)

    async def search_batch(
        self,
        vectors: ArrayLike,
        *,
        space: str,
        encoder: str | None = None,
        gallery: str | None = None,
        **options: Unpack[SearchParams],
    ) -> BatchSearchAnswer:
        """Search with up to 1,000 unit vectors, [n, D], at once; the results are in their order. As `search`."""
        call = search_calls.search_batch(vectors, options, space=space, encoder=encoder, gallery=gallery)
        return await self._connections.run(call)

    async def search_photo(
        self,
        photo: PhotoFile,
        *,
        encoder: str | None = None,
        gallery: str | None = None,
        **options: Unpack[SearchParams],
    ) -> SearchAnswer:
        """Send a photo for the server to describe with `encoder` (`name@version`).

        None: with the student that `best_encoder` answers, or the teacher where no student is admitted; `encoder` in the
        answer says which. Refused with 403 unless the server was started with `--photo-search`. As `search`. Raises UnreadablePhoto.
        """
        return await self._connections.run(search_calls.search_photo(photo, options, encoder=encoder, gallery=gallery))

    async def similar(self, item_id: str, *, gallery: str, **options: Unpack[SimilarParams]) -> SearchAnswer:
        """Search with the vector of an item; the item itself is not a hit. `options`: see SimilarParams."""
        return await self._connections.run(search_calls.similar(item_id, options, gallery=gallery))

    async def _named(self, gallery: str | None) -> str:
        """The gallery's name or alias; of None, the server's default gallery. Raises ClientMisused if the key may not see it."""
        if gallery is not None:
            return gallery
        default = (await self.galleries()).default_gallery
        if default is None:
            raise ClientMisused("Expected the name of a gallery: this key may not see the server's default gallery.")
        return default

    async def item(self, item_id: str, *, gallery: str, with_vectors: bool = False) -> Item:
        """One item."""
        return await self._connections.run(item_calls.item(item_id, gallery=gallery, with_vectors=with_vectors))

    async def photo(self, item_id: str, *, gallery: str) -> bytes:
        """The photo of an item, byte for byte as it was stored."""
        return await self._connections.run(item_calls.photo(item_id, gallery=gallery))

    async def galleries(self) -> GalleryList:
        """All galleries, by name."""
        return await self._connections.run(gallery_calls.galleries())

    async def gallery(self, name: str) -> GalleryDescription:
        """One gallery, by its name or an alias."""
        return await self._connections.run(gallery_calls.gallery(name))

    async def count(
        self,
        gallery: str | None = None,
        *,
        filter: SearchFilter | None = None,  # noqa: A002
    ) -> int:
        """The number of items in a gallery (None: the default one), or of those that meet a condition."""
        name = await self._named(gallery)
        if filter is None:
            return (await self.gallery(name)).items
        return (await self.count_items(gallery=name, filter=filter)).count

    async def count_items(
        self,
        ids: Sequence[str] | None = None,
        *,
        gallery: str,
        filter: SearchFilter | None = None,  # noqa: A002
    ) -> CountItemsAnswer:
        """How many items have these ids or meet a condition, and the filter's unknown fields; of all without either.

        Raises ValueError if `ids` is empty.
        """
        answers = [
            await self._connections.run(item_calls.count_items(batch, filter, gallery=gallery))
            for batch in id_batches(ids)
        ]
        return CountItemsAnswer(count=sum(each.count for each in answers), unknown_fields=answers[-1].unknown_fields)

    async def index(self, gallery: str) -> IndexDescription:
        """The kind, size and recall of a gallery's index, and what the chosen kind would need."""
        return await self._connections.run(gallery_calls.index(gallery))

    async def encoders(self) -> EncoderList:
        """All encoders on the server, newest first."""
        return await self._connections.run(encoder_calls.encoders())

    async def encoder(self, encoder_id: str, *, gallery: str | None = None) -> EncoderDescription:
        """One encoder, `name@version`, with its admission report.

        `gallery`: which gallery's, where several admitted an encoder with this id; None: the latest admission.
        """
        return await self._connections.run(encoder_calls.encoder(encoder_id, gallery=gallery))

    async def best_encoder(
        self,
        *,
        gallery: str | None = None,
        runtime: Runtime | None = None,
        max_bytes: int | None = None,
        max_milliseconds: float | None = None,
    ) -> EncoderDescription:
        """The best student of a gallery (None: the default one) that fits a device. Raises NotFound if none does.

        `runtime`: what will run it. `max_bytes`: the size of its file. `max_milliseconds`: the time for one photo, as
        measured on the server.
        """
        call = encoder_calls.best(
            gallery=gallery, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds
        )
        return await self._connections.run(call)

    async def encoder_manifest(self, encoder_id: str, *, gallery: str | None = None) -> Manifest:
        """The manifest of an encoder. `gallery`: as for `encoder`."""
        return await self._connections.run(encoder_calls.manifest(encoder_id, gallery=gallery))

    async def download_encoder(self, encoder_id: str, path: str | Path, *, gallery: str | None = None) -> Path:
        """Fetch an encoder file to `path`; it is verified before it replaces an existing file.

        `gallery`: as for `encoder`. Returns the path. Raises DamagedEncoder if the bytes are not the encoder's.
        """
        with Download(Path(path)) as download:
            await self._connections.download(encoder_calls.file(encoder_id, gallery=gallery), download)
            return await run_blocking(download.keep, encoder_check(encoder_id, self.url))

    async def offline_pack(self, gallery: str) -> OfflinePackDescription:
        """The offline pack of a gallery. Raises NotFound if none is allowed, or while the first one is being made.

        Asking may cause the server to make a new one: see `building` in the answer.
        """
        return await self._connections.run(pack_calls.offline_pack(gallery=gallery))

    async def download_offline_pack(self, path: str | Path, *, gallery: str) -> Path:
        """Fetch the offline pack of a gallery to `path`; it is verified before it replaces an existing file.

        `askew_client.offline.pack.Pack` opens and searches it. Returns the path. Raises NotFound as `offline_pack`,
        DamagedPack if the bytes are not those that the server states.
        """
        with Download(Path(path)) as download:
            await self._connections.download(pack_calls.offline_pack_file(gallery=gallery), download)
            return await run_blocking(download.keep, pack_check(download, self.url))
