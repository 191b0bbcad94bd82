"""Talk to an Askew server: the part of the client that only searches and reads, as a phone does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from askew_client.calls import encoders as encoder_calls
from askew_client.calls import galleries as gallery_calls
from askew_client.calls import health as health_calls
from askew_client.calls import items as item_calls
from askew_client.calls import search as search_calls
from askew_client.calls.bodies import PhotoFile
from askew_client.calls.search import SearchFilter, WithPayload, search_options
from askew_client.contract.encoders import EncoderDescription, EncoderList, Runtime
from askew_client.contract.galleries import GalleryDescription, GalleryList
from askew_client.contract.health import Health, Readiness, Version
from askew_client.contract.indexes import IndexDescription
from askew_client.contract.items import Item
from askew_client.contract.manifest import Manifest
from askew_client.contract.search import BatchSearchAnswer, SearchAnswer
from askew_client.transport.downloads import Download, encoder_check
from askew_client.transport.requests import Connections

if TYPE_CHECKING:
    from askew_client.encoding.encoder import Encoder
    from askew_client.encoding.photos import Photo


class SearchClient:
    """What a client may do with a key of the scope `search`. `Client` can do this and the rest."""

    def __init__(self, url: str, *, timeout: float = 10, retries: int = 3, key: str | None = None) -> None:
        """Prepare to talk to `url`; nothing is sent yet.

        `timeout`: seconds to wait for a connection, and for an answer. `retries`: how often a request is sent again
        after a broken connection, 429, 502, 503 or 504; Retry-After is honoured. `key`: an API key.
        """
        self.url = url
        self._connections = Connections(url, timeout=timeout, retries=retries, key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def health(self) -> Readiness:
        """Whether the server is ready to answer; Overloaded while it is loading or draining."""
        return self._connections.run(health_calls.ready())

    def alive(self) -> Health:
        """Whether the server's process lives, ready or not."""
        return self._connections.run(health_calls.alive())

    def version(self) -> Version:
        """Which server this is."""
        return self._connections.run(health_calls.version())

    def explain_problem(self, slug: str) -> str:
        """What a problem means: `error.problem.slug` of a ProblemError."""
        return self._connections.run(health_calls.problem(slug))

    def search_with(
        self,
        encoder: Encoder,
        photo: Photo,
        *,
        gallery: str | None = None,
        limit: int = 10,
        score_threshold: float | None = None,
        max_false_match: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
        exclude: Sequence[str] = (),
        with_payload: WithPayload = True,
        with_vectors: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        exact: bool = False,
    ) -> SearchAnswer:
        """Describe a photo here with an encoder, and search with its vector: only that leaves this machine.

        As `search`, and raises PhotoError for a photo that cannot be described.
        """
        return self.search(
            encoder.encode(photo)[0],
            space=encoder.space_id,
            encoder=encoder.manifest.encoder_id,
            gallery=gallery,
            limit=limit,
            score_threshold=score_threshold,
            max_false_match=max_false_match,
            filter=filter,
            exclude=exclude,
            with_payload=with_payload,
            with_vectors=with_vectors,
            group_by=group_by,
            group_size=group_size,
            exact=exact,
        )

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        space: str,
        encoder: str | None = None,
        gallery: str | None = None,
        limit: int = 10,
        score_threshold: float | None = None,
        max_false_match: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
        exclude: Sequence[str] = (),
        with_payload: WithPayload = True,
        with_vectors: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        exact: bool = False,
    ) -> SearchAnswer:
        """Search a gallery with a float32 [D] unit vector; it is sent as float16.

        `space`: the space that the vector lies in. `encoder`: `name@version` of what made it. `gallery`: None for
        the server's default one. `limit`: hits at most. Hits below `score_threshold` are left out, or below the score
        that a share `max_false_match` of queries without a match would still reach (needs `encoder`).
        `filter`: a condition on payloads. `exclude`: ids that are no hits. `with_payload`: whether hits carry their
        payload, or which fields of it; `with_vectors`: whether they carry their vector. `group_by`: a payload field;
        at most `group_size` hits of each of its values, and at most `limit` values. `exact`: the true nearest, however
        long it takes. Raises WireError for a vector that is no unit vector.
        """
        options = search_options(
            limit, score_threshold, max_false_match, filter, exclude, with_payload, with_vectors, group_by, group_size, exact
        )  # fmt: skip
        call = search_calls.search(vector, options, space=space, encoder=encoder, gallery=gallery)
        return self._connections.run(call)

    def search_batch(
        self,
        vectors: NDArray[np.float32],
        *,
        space: str,
        encoder: str | None = None,
        gallery: str | None = None,
        limit: int = 10,
        score_threshold: float | None = None,
        max_false_match: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
        exclude: Sequence[str] = (),
        with_payload: WithPayload = True,
        with_vectors: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        exact: bool = False,
    ) -> BatchSearchAnswer:
        """Search with up to 1,000 float32 [n, D] unit vectors at once; results in their order. As `search`."""
        options = search_options(
            limit, score_threshold, max_false_match, filter, exclude, with_payload, with_vectors, group_by, group_size, exact
        )  # fmt: skip
        call = search_calls.search_batch(vectors, options, space=space, encoder=encoder, gallery=gallery)
        return self._connections.run(call)

    def search_photo(
        self,
        photo: PhotoFile,
        *,
        encoder: str | None = None,
        gallery: str | None = None,
        limit: int = 10,
        score_threshold: float | None = None,
        max_false_match: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
        exclude: Sequence[str] = (),
        with_payload: WithPayload = True,
        with_vectors: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        exact: bool = False,
    ) -> SearchAnswer:
        """Send a photo, to be described by the server with `encoder` (`name@version`; None: the gallery's teacher).

        Refused with 403 unless the server was started to describe queries. As `search`; raises UnreadablePhoto.
        """
        options = search_options(
            limit, score_threshold, max_false_match, filter, exclude, with_payload, with_vectors, group_by, group_size, exact
        )  # fmt: skip
        return self._connections.run(search_calls.search_photo(photo, options, encoder=encoder, gallery=gallery))

    def similar(
        self,
        item_id: str,
        *,
        gallery: str,
        limit: int = 10,
        score_threshold: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
        exclude: Sequence[str] = (),
        with_payload: WithPayload = True,
        with_vectors: bool = False,
        group_by: str | None = None,
        group_size: int = 1,
        exact: bool = False,
    ) -> SearchAnswer:
        """Search with the vector of an item; the item itself is no hit. As `search`."""
        options = search_options(
            limit, score_threshold, None, filter, exclude, with_payload, with_vectors, group_by, group_size, exact
        )
        return self._connections.run(search_calls.similar(item_id, options, gallery=gallery))

    def item(self, item_id: str, *, gallery: str, with_vectors: bool = False) -> Item:
        """One item."""
        return self._connections.run(item_calls.item(item_id, gallery=gallery, with_vectors=with_vectors))

    def photo(self, item_id: str, *, gallery: str) -> bytes:
        """The photo of an item, as it was stored."""
        return self._connections.run(item_calls.photo(item_id, gallery=gallery))

    def galleries(self) -> GalleryList:
        """All galleries, by name."""
        return self._connections.run(gallery_calls.galleries())

    def gallery(self, name: str) -> GalleryDescription:
        """One gallery, by its name or an alias."""
        return self._connections.run(gallery_calls.gallery(name))

    def index(self, gallery: str) -> IndexDescription:
        """The kind and size of a gallery's index, its recall, and what it would take."""
        return self._connections.run(gallery_calls.index(gallery))

    def encoders(self) -> EncoderList:
        """All encoders that the server holds, newest first."""
        return self._connections.run(encoder_calls.encoders())

    def encoder(self, encoder_id: str, *, gallery: str | None = None) -> EncoderDescription:
        """One encoder, `name@version`, with its admission report.

        `gallery`: of which gallery, where several admitted an encoder of this id; None: the one that did so last.
        """
        return self._connections.run(encoder_calls.encoder(encoder_id, gallery=gallery))

    def best_encoder(
        self,
        *,
        gallery: str | None = None,
        runtime: Runtime | None = None,
        max_bytes: int | None = None,
        max_milliseconds: float | None = None,
    ) -> EncoderDescription:
        """The best student of a gallery (None: the default one) that fits a device. NotFound when none does.

        `runtime`: what will run it. `max_bytes`: of its file. `max_milliseconds`: a photo, as the server measured it.
        """
        call = encoder_calls.best(
            gallery=gallery, runtime=runtime, max_bytes=max_bytes, max_milliseconds=max_milliseconds
        )
        return self._connections.run(call)

    def encoder_manifest(self, encoder_id: str, *, gallery: str | None = None) -> Manifest:
        """The manifest of an encoder. `gallery`: as for `encoder`."""
        return self._connections.run(encoder_calls.manifest(encoder_id, gallery=gallery))

    def download_encoder(self, encoder_id: str, path: str | Path, *, gallery: str | None = None) -> Path:
        """Fetch an encoder file to `path`, verified before it takes the place of what was there.

        `gallery`: as for `encoder`. Returns the path. Raises DamagedEncoder when the bytes are not the encoder's.
        """
        with Download(Path(path)) as download:
            self._connections.download(encoder_calls.file(encoder_id, gallery=gallery), download)
            return download.keep(encoder_check(encoder_id, self.url))
