"""Talk to an Askew server: the part of the client that only searches, as a phone does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.answers import read_answer
from askew_client.bodies import (
    SearchFilter,
    checked_vector,
    gallery_path,
    photo_bytes,
    query_parameters,
    search_options,
)
from askew_client.contract.schemas import BatchSearchAnswer, Health, SearchAnswer
from askew_client.contract.wire import pack, pack_base64
from askew_client.photos import media_type
from askew_client.transport import open_connections, send

if TYPE_CHECKING:
    from askew_client.encoder import Encoder
    from askew_client.photos import Photo


class SearchClient:
    """What a client may do with a key that only searches. Use `Client`, which can do this and the rest."""

    def __init__(self, url: str, *, timeout: float = 10, retries: int = 3, key: str | None = None) -> None:
        """Prepare to talk to `url`; nothing is sent yet.

        `timeout`: seconds to wait for a connection, and for an answer. `retries`: how often a request is sent again
        after a broken connection, 429, 502, 503 or 504; Retry-After is honoured. `key`: an API key.
        """
        self.url = url
        self._connections = open_connections(url, timeout=timeout, retries=retries, key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def health(self) -> Health:
        """Whether the server is ready to answer; Overloaded while it is loading or draining."""
        return read_answer(self._send("GET", "/readyz"), Health)

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
    ) -> SearchAnswer:
        """Search a gallery with a float32 [D] unit vector; it is sent as float16.

        `space`: the space that the vector lies in. `encoder`: `name@version` of what made it. `gallery`: None for
        the server's default one. `limit`: hits at most. Hits below `score_threshold` are left out, or below the score
        that a share `max_false_match` of queries without a match would still reach (needs `encoder`).
        `filter`: a condition on payloads. Raises WireError for a vector that is no unit vector.
        """
        headers = {"Content-Type": "application/octet-stream", "Askew-Space": space, "Askew-Dtype": "f16le"}
        if encoder is not None:
            headers["Askew-Encoder"] = encoder
        response = self._send(
            "POST",
            f"{gallery_path(gallery)}/search",
            params=query_parameters(search_options(limit, score_threshold, max_false_match, filter)),
            headers=headers,
            content=pack(checked_vector(vector)),
        )
        return read_answer(response, SearchAnswer)

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
    ) -> BatchSearchAnswer:
        """Search with up to 1,000 float32 [n, D] unit vectors at once; results in their order. As `search`."""
        origin: dict[str, JsonValue] = {"dtype": "f16le", "space": space}
        if encoder is not None:
            origin["encoder"] = encoder
        queries: list[JsonValue] = [{"vector": pack_base64(checked_vector(each)), **origin} for each in vectors]
        options = search_options(limit, score_threshold, max_false_match, filter)
        response = self._send(
            "POST", f"{gallery_path(gallery)}/search/batch", json_body={"queries": queries, **options}
        )
        return read_answer(response, BatchSearchAnswer)

    def search_photo(
        self,
        photo: str | Path | bytes,
        *,
        encoder: str | None = None,
        gallery: str | None = None,
        limit: int = 10,
        score_threshold: float | None = None,
        max_false_match: float | None = None,
        filter: SearchFilter | None = None,  # noqa: A002
    ) -> SearchAnswer:
        """Send a photo, to be described by the server with `encoder` (`name@version`; None: the gallery's teacher).

        Refused with 403 unless the server was started to describe queries. As `search`; raises UnreadablePhoto.
        """
        content = photo_bytes(photo)
        options = search_options(limit, score_threshold, max_false_match, filter)
        if encoder is not None:
            options["encoder"] = encoder
        response = self._send(
            "POST",
            f"{gallery_path(gallery)}/search/photo",
            params=query_parameters(options),
            headers={"Content-Type": media_type(content)},
            content=content,
        )
        return read_answer(response, SearchAnswer)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json_body: JsonValue = None,
        form: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send one request; `timeout` overrides the client's own, in seconds."""
        request = self._connections.build_request(
            method,
            path,
            params=params,
            headers=headers,
            content=content,
            json=json_body,
            data=form,
            files=files,
            timeout=self._connections.timeout if timeout is None else timeout,
        )
        return send(self._connections, request)
