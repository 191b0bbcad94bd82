"""Talk to an Askew server: search a gallery, fill one, admit and fetch encoders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from askew_client.answers import check_status, read_answer
from askew_client.bodies import checked_vector, gallery_path, item_path, photo_bytes, segment
from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.manifest import Manifest
from askew_client.contract.schemas import (
    MAX_BATCH,
    CreateGalleryRequest,
    DeleteAnswer,
    EncoderDescription,
    EncoderList,
    GalleryDescription,
    GalleryList,
    Item,
    ItemPage,
    Payload,
    UpsertAnswer,
)
from askew_client.contract.wire import pack_base64
from askew_client.errors import DamagedEncoder, NotAnEncoder
from askew_client.files import write_atomically
from askew_client.photos import media_type
from askew_client.searching import SearchClient

PAGE = 1_000
ADMISSION_TIMEOUT = 600.0
"""Seconds: a gate describes up to some hundred photos before it answers."""


class Client(SearchClient):
    """A server, by its URL. Close it, or use it in a `with` statement; it may be used from several threads.

    Every method raises ServerUnreachable when no answer comes, ProblemError (or SpaceMismatch, NotFound,
    EncoderRefused, Overloaded) when the server says no, ServerError when the answer is not Askew's.
    """

    def galleries(self) -> GalleryList:
        """All galleries, by name."""
        return read_answer(self._send("GET", "/v1/galleries"), GalleryList)

    def gallery(self, name: str) -> GalleryDescription:
        """One gallery."""
        return read_answer(self._send("GET", gallery_path(name)), GalleryDescription)

    def create_gallery(self, name: str, teacher: str | Path | Manifest) -> GalleryDescription:
        """Create a gallery in its teacher's space; the same call again changes nothing.

        `teacher`: its encoder file, which the server keeps and describes photos with, or only its manifest.
        """
        if isinstance(teacher, Manifest):
            body = CreateGalleryRequest(teacher=teacher).model_dump(mode="json", exclude_none=True)
            return read_answer(self._send("PUT", gallery_path(name), json_body=body), GalleryDescription)
        return read_answer(self._send_file("PUT", gallery_path(name), teacher), GalleryDescription)

    def upsert(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        payloads: Sequence[Payload] | None = None,
        *,
        gallery: str,
        space: str,
    ) -> UpsertAnswer:
        """Insert or replace items that the gallery's teacher described: float32 [n, D] unit vectors.

        They travel in requests of up to 1,000 items; each request is stored whole or not at all. Returns how many
        were stored, and the gallery's last sequence number. Raises WireError for a vector that is no unit vector.
        """
        kept = payloads if payloads is not None else [{} for _ in ids]
        if not len(ids) == len(vectors) == len(kept) or not ids:
            raise ValueError(
                f"expected as many ids, vectors and payloads, one at least; got {len(ids)}, "
                f"{len(vectors)} and {len(kept)}"
            )
        items: list[JsonValue] = [
            {"id": name, "vector": pack_base64(checked_vector(vector)), "dtype": "f16le", "payload": payload}
            for name, vector, payload in zip(ids, vectors, kept, strict=True)
        ]
        path = f"{gallery_path(gallery)}/items"
        answers = [
            read_answer(
                self._send("PUT", path, json_body={"space": space, "items": items[start : start + MAX_BATCH]}),
                UpsertAnswer,
            )
            for start in range(0, len(items), MAX_BATCH)
        ]
        return UpsertAnswer(upserted=sum(each.upserted for each in answers), sequence=answers[-1].sequence)

    def upsert_photo(
        self,
        item_id: str,
        photo: str | Path | bytes,
        *,
        gallery: str,
        payload: Payload | None = None,
        vector: NDArray[np.float32] | None = None,
        space: str | None = None,
    ) -> UpsertAnswer:
        """Insert or replace an item with its photo.

        `vector` and `space`: the photo's float32 [D] unit vector by the gallery's teacher; without it, the server
        describes the photo. Raises UnreadablePhoto, WireError.
        """
        content = photo_bytes(photo)
        form = {"payload": json.dumps(payload or {})}
        if vector is not None:
            form |= {"vector": pack_base64(checked_vector(vector)), "dtype": "f16le"}
        if space is not None:
            form["space"] = space
        files = {"photo": ("photo", content, media_type(content))}
        return read_answer(self._send("PUT", item_path(gallery, item_id), form=form, files=files), UpsertAnswer)

    def items(self, *, gallery: str, with_vectors: bool = False) -> Iterator[Item]:
        """All items in the order of their ids, fetched a page at a time."""
        params = {"limit": str(PAGE), "with_vectors": json.dumps(with_vectors)}
        while True:
            response = self._send("GET", f"{gallery_path(gallery)}/items", params=params)
            page = read_answer(response, ItemPage)
            yield from page.items
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    def item(self, item_id: str, *, gallery: str, with_vectors: bool = False) -> Item:
        """One item."""
        params = {"with_vectors": json.dumps(with_vectors)}
        return read_answer(self._send("GET", item_path(gallery, item_id), params=params), Item)

    def photo(self, item_id: str, *, gallery: str) -> bytes:
        """The photo of an item, as it was stored."""
        response = self._send("GET", f"{item_path(gallery, item_id)}/photo")
        check_status(response)
        return response.content

    def delete_item(self, item_id: str, *, gallery: str) -> DeleteAnswer:
        """Delete an item and its photo."""
        return read_answer(self._send("DELETE", item_path(gallery, item_id)), DeleteAnswer)

    def admit(self, encoder: str | Path, *, gallery: str) -> EncoderDescription:
        """Ask a gallery to admit a student's encoder file. Raises EncoderRefused with the gate's report."""
        return read_answer(self._send_file("POST", f"{gallery_path(gallery)}/encoders", encoder), EncoderDescription)

    def encoders(self) -> EncoderList:
        """All encoders that the server holds, newest first."""
        return read_answer(self._send("GET", "/v1/encoders"), EncoderList)

    def encoder(self, encoder_id: str) -> EncoderDescription:
        """One encoder, `name@version`, with its admission report."""
        return read_answer(self._send("GET", f"/v1/encoders/{segment(encoder_id)}"), EncoderDescription)

    def encoder_manifest(self, encoder_id: str) -> Manifest:
        """The manifest of an encoder."""
        return read_answer(self._send("GET", f"/v1/encoders/{segment(encoder_id)}/manifest"), Manifest)

    def download_encoder(self, encoder_id: str, path: str | Path) -> Path:
        """Fetch an encoder file to `path`, verified before it takes the place of what was there.

        Returns the path. Raises DamagedEncoder when the bytes are not the encoder's.
        """
        path = Path(path)
        response = self._send("GET", f"/v1/encoders/{segment(encoder_id)}/file")
        check_status(response)
        came = parse_encoder_file(response.content, str(response.url)).manifest.encoder_id
        if came != encoder_id:
            raise DamagedEncoder(f"{response.url} holds the encoder {came}, not {encoder_id}.")
        write_atomically(path, response.content)
        return path

    def _send_file(self, method: str, path: str, encoder: str | Path) -> httpx.Response:
        try:
            content = Path(encoder).read_bytes()
        except OSError as error:
            raise NotAnEncoder(f"Expected an encoder file, but {encoder} cannot be read: {error.strerror}.") from None
        headers = {"Content-Type": "application/octet-stream"}
        return self._send(method, path, headers=headers, content=content, timeout=ADMISSION_TIMEOUT)
