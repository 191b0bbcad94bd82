"""Opens a gallery's collection as its items and as its index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from askew_client.errors import AskewError
from askew_server.milvus.collection import MilvusCollection
from askew_server.milvus.connection import MilvusConnection
from askew_server.milvus.index import MilvusIndex
from askew_server.milvus.items import MilvusItemStore
from askew_server.milvus.library import CHECK_SECONDS, WRITE_SECONDS, connect, describe_failure, milvus_errors
from askew_server.milvus.place import TOKEN, MilvusPlace, token_for
from askew_server.milvus.schema import create_collection
from askew_server.storage.items import SqliteItemStore

Result = TypeVar("Result")


def open_milvus(
    gallery: str, own: SqliteItemStore, place_fact: str, space: str, dim: int
) -> tuple[MilvusItemStore, MilvusIndex]:
    """Both ports of one collection. `place_fact`: the gallery's fact. Raises EngineMissing, MissingSecret, ValueError."""
    place = MilvusPlace.read(place_fact)
    connection = MilvusConnection(gallery, place, token_for(place), space, dim)
    collection = MilvusCollection(connection, space)
    return MilvusItemStore(collection, own, dim), MilvusIndex(gallery, collection)


def make_collection(place: MilvusPlace, space: str, dim: int) -> bool:
    """Make a place's collection unless it is there; whether it was made.

    Raises EngineMissing, MissingSecret; AskewError for a collection that is not of this space, or a Milvus that does not
    answer or refuses.
    """
    return _once(place, lambda client: create_collection(client, place, space, dim))


def has_collection(place: MilvusPlace) -> bool:
    """Whether a place's collection is there. Raises as `make_collection`."""
    return bool(_once(place, lambda client: client.has_collection(place.collection, timeout=CHECK_SECONDS)))


def drop_collection(place: MilvusPlace) -> None:
    """Drop a place's collection, if it is there, with everything in it. Raises as `make_collection`."""
    _once(place, lambda client: client.drop_collection(place.collection, timeout=WRITE_SECONDS))


def _once(place: MilvusPlace, task: Callable[[Any], Result]) -> Result:
    """Run a task on a connection of its own."""
    token = token_for(place)
    try:
        client = connect(place, token)
        try:
            return task(client)
        finally:
            client.close()
    except milvus_errors() as error:
        raise AskewError(
            f"Milvus at {place.address} did not do what it was asked ({describe_failure(error)}). Check the address, "
            f"and the token in {TOKEN} if it needs one, and try again."
        ) from None
