"""DATA directories for tests, written in the test's own process: no server, no describing child, no HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.wire import pack_base64
from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.storage.items import ItemBatch, StoredItem
from askew_server.storage.raw_items import RawItem, raw_items
from askew_server.storage.sqlite import Database


def unit_vector(seed: int, dim: int = 64) -> NDArray[np.float32]:
    """A vector that only this seed has: float32 [dim], unit length."""
    vector = np.random.default_rng([seed % (1 << 32), dim]).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def item_json(identity: str, vector_seed: int, /, **payload: object) -> dict[str, object]:
    """An item as it is sent, with the vector of a seed."""
    return {"id": identity, "vector": pack_base64(unit_vector(vector_seed)), "dtype": "f16le", "payload": payload}


def write_gallery(
    data: Path, name: str, teacher_file: Path, items: Sequence[StoredItem] = (), *, aliases: Iterable[str] = ()
) -> None:
    """Create a gallery with its teacher's file, or add items to it; `aliases` name it."""
    content = teacher_file.read_bytes()
    file = parse_encoder_file(content, str(teacher_file))
    with closing(Catalog(data, owner="a test")) as galleries:
        galleries.load()
        gallery, _ = galleries.get_or_create(name, file.manifest)
        gallery.run(lambda each: each.keep_encoder(file, content, None))
        for start in range(0, len(items), 1_000):
            batch = ItemBatch.of(items[start : start + 1_000])
            gallery.run(lambda each, batch=batch: each.upsert(batch))  # type: ignore[misc]
        for alias in aliases:
            galleries.set_alias(alias, name)


def described(encoder: Encoder, photos: Iterable[Path]) -> list[StoredItem]:
    """Items of photos, each with the vector that an encoder makes and the id that is its file's stem."""
    return [
        StoredItem(photo.stem, encoder.encode(photo), {"kind": photo.stem.split("-")[0]}, (photo.read_bytes(), ".jpg"))
        for photo in photos
    ]


def stored_items(data: Path, gallery: str = "objects") -> dict[str, RawItem]:
    """Every item as the database of a gallery holds it, by id."""
    with Database.open_read_only(data / "galleries" / gallery / "gallery.db") as database:
        return {str(item.id): item for item in raw_items(database)}
