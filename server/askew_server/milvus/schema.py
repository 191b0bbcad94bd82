"""The fields of a collection, and whether a collection is one of Askew's, in the right space.

The space is part of the name of the vectors' field: a description of a collection can be changed, a field's name cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from askew_client.errors import AskewError
from askew_server.milvus.library import CHECK_SECONDS, LOAD_SECONDS, WRITE_SECONDS
from askew_server.milvus.place import MilvusPlace
from askew_server.milvus.rows import MAX_ID_BYTES, MAX_PAYLOAD_BYTES, MAX_TOKENS
from askew_server.milvus.tokens import TOKEN_LENGTH

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONSISTENCY = "Strong"
"""Every read sees every write that was acknowledged, of all servers."""

METRIC = "IP"
_VECTOR = "vector_"
_MAX_PHOTO = 80


def vector_field(space: str) -> str:
    """The name of the vectors' field of a space."""
    return _VECTOR + space.replace("-", "_")


def create_collection(client: MilvusClient, place: MilvusPlace, space: str, dim: int) -> bool:
    """Make the collection unless it exists; whether it was made. Raises AskewError for another one, and as pymilvus."""
    from pymilvus import DataType, MilvusClient

    fault = examine_collection(client, place, space, dim)
    if fault is None:
        _require_index(client, place, space)
        _create_indexes(client, place, space)
        return False
    if client.has_collection(place.collection, timeout=CHECK_SECONDS):
        raise AskewError(fault)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=f"Askew, {space}")
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    schema.add_field("label", DataType.INT64)
    schema.add_field("photo", DataType.VARCHAR, max_length=_MAX_PHOTO)
    schema.add_field("payload", DataType.VARCHAR, max_length=MAX_PAYLOAD_BYTES)
    schema.add_field(
        "tokens", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MAX_TOKENS, max_length=TOKEN_LENGTH
    )
    schema.add_field(vector_field(space), DataType.FLOAT_VECTOR, dim=dim)
    client.create_collection(
        place.collection,
        schema=schema,
        consistency_level=CONSISTENCY,
        num_shards=place.shards,
        timeout=WRITE_SECONDS,
    )
    try:
        _create_indexes(client, place, space)
        load_collection(client, place)
    except BaseException:
        # Nothing is in it, and half of a collection would be taken for a whole one.
        client.drop_collection(place.collection, timeout=WRITE_SECONDS)
        raise
    return True


def examine_collection(client: MilvusClient, place: MilvusPlace, space: str, dim: int) -> str | None:
    """Why a collection cannot be the one of a gallery, a sentence; None if it can. Raises as pymilvus."""
    if not client.has_collection(place.collection, timeout=CHECK_SECONDS):
        return f"There is no {place}."
    described = client.describe_collection(place.collection, timeout=CHECK_SECONDS)
    fields: dict[str, Any] = {field["name"]: field for field in described["fields"]}
    vectors = [name for name in fields if name.startswith(_VECTOR)]
    if len(vectors) != 1 or {"id", "label", "photo", "payload", "tokens"} - set(fields):
        return (
            f"Expected a collection that Askew made, but {place} has the fields {', '.join(list(fields)[:10])}. Name another "
            "collection."
        )
    if vectors[0] != vector_field(space):
        found = vectors[0].removeprefix(_VECTOR).replace("_", "-")
        return f"Expected vectors of space {space}, but {place} holds those of {found}. Name another collection."
    found_dim = int(fields[vectors[0]]["params"]["dim"])
    if found_dim != dim:
        return f"Expected vectors of {dim} values, but {place} holds vectors of {found_dim}. Name another collection."
    return None


def load_collection(client: MilvusClient, place: MilvusPlace) -> None:
    """Make Milvus load a collection for searches unless it has: after a restart it may not. Raises as pymilvus."""
    from pymilvus.client.types import LoadState

    state = client.get_load_state(place.collection, timeout=CHECK_SECONDS)["state"]
    if state != LoadState.Loaded:
        client.load_collection(place.collection, replica_number=place.replicas, timeout=LOAD_SECONDS)


def _require_index(client: MilvusClient, place: MilvusPlace, space: str) -> None:
    """Raise AskewError if the vectors of a collection have another index: its answers would be taken for what they are not."""
    names = client.list_indexes(place.collection, field_name=vector_field(space), timeout=CHECK_SECONDS)
    if not names:
        return
    found = client.describe_index(place.collection, names[0], timeout=CHECK_SECONDS)
    if (found["index_type"], found["metric_type"]) != (place.index_type, METRIC):
        raise AskewError(
            f"Expected an index of type {place.index_type} over {METRIC} in {place}, but it has {found['index_type']} over "
            f"{found['metric_type']}. Name that type (--index-type), or another collection."
        )


def _create_indexes(client: MilvusClient, place: MilvusPlace, space: str) -> None:
    """Make the indexes that a collection does not have yet: all of them, or the rest if it was cut off before."""
    from pymilvus import MilvusClient

    wanted = MilvusClient.prepare_index_params()
    vectors = vector_field(space)
    # Milvus Lite looks through the tokens without an index.
    is_lite = "lite" in client.get_server_version(timeout=CHECK_SECONDS)
    for field in (vectors, "label", *(() if is_lite else ("tokens",))):
        if client.list_indexes(place.collection, field_name=field, timeout=CHECK_SECONDS):
            continue
        if field == vectors:
            wanted.add_index(
                field, index_type=place.index_type, metric_type=METRIC, params=dict(place.index_parameters)
            )
        else:
            wanted.add_index(field, index_type="INVERTED")
    if len(wanted):
        client.create_index(place.collection, wanted, timeout=WRITE_SECONDS)
