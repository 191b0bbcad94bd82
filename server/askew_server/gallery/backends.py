"""Opens what holds a gallery's items and their vectors: SQLite with FAISS, or Milvus, as the gallery's facts say."""

from __future__ import annotations

from askew_server.gallery.index_manager import OpenIndex
from askew_server.index.port import VectorIndex
from askew_server.storage.facts import MILVUS_PLACE, GalleryFacts
from askew_server.storage.items import SqliteItemStore
from askew_server.storage.port import ItemStore


def open_items(
    name: str, own: SqliteItemStore, facts: GalleryFacts, open_index: OpenIndex
) -> tuple[ItemStore, VectorIndex]:
    """The items of a gallery and their index. `own`: its database in its folder.

    Raises EngineMissing, MissingSecret; ValueError for a place that is damaged. Milvus need not be there.
    """
    place = own.fact(MILVUS_PLACE)
    if place is None:
        return own, open_index(name, own, facts.dim)
    from askew_server.milvus.opening import open_milvus

    return open_milvus(name, own, place, facts.space, facts.dim)
