"""The calls to one collection: reads that see every acknowledged write, and writes that return when they are acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from askew_server.index.types import Expression, Vectors
from askew_server.milvus.connection import MilvusConnection
from askew_server.milvus.library import READ_SECONDS, WRITE_SECONDS
from askew_server.milvus.rows import Row
from askew_server.milvus.schema import CONSISTENCY, METRIC, vector_field


class MilvusCollection:
    """One collection. Used by any thread. Methods raise Refusal (not-ready with Retry-After; overloaded), AskewError.

    `vector`: the name of the vectors' field.
    """

    def __init__(self, connection: MilvusConnection, space: str) -> None:
        self.connection = connection
        self.vector = vector_field(space)
        self._name = connection.place.collection

    def query(self, expression: Expression, columns: Sequence[str], limit: int | None = None) -> list[Row]:
        """The rows that an expression selects, in any order; `limit`: any so many of them."""
        return self._query(expression, columns, {} if limit is None else {"limit": limit})

    def first(self, expression: Expression, columns: Sequence[str], limit: int) -> list[Row]:
        """The first rows, in the order of ids, that an expression selects."""
        # The marks of pymilvus's own iterator: with them, the rows are the first ones by primary key.
        options = {"limit": limit, "iterator": "True", "reduce_stop_for_best": "True"}
        return sorted(self._query(expression, columns, options), key=lambda row: str(row["id"]))

    def count(self, expression: Expression) -> int:
        """How many rows an expression selects."""
        return int(self._query(expression, ["count(*)"], {})[0]["count(*)"])

    def search(self, vectors: Vectors, limit: int, expression: Expression) -> list[list[tuple[float, int]]]:
        """Score and label of the nearest rows to each query, float32 [n, D], among those that an expression selects."""
        parameters = {"metric_type": METRIC, "params": dict(self.connection.place.search_parameters)}

        def ask(client: Any) -> Any:
            return client.search(
                self._name,
                data=list(vectors),
                anns_field=self.vector,
                limit=limit,
                filter=expression,
                output_fields=["label"],
                search_params=parameters,
                consistency_level=CONSISTENCY,
                timeout=READ_SECONDS,
            )

        answers = self.connection.call(ask)
        return [[(float(hit["distance"]), int(hit["entity"]["label"])) for hit in hits] for hits in answers]

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows; each replaces the one of its id."""
        self.connection.call(lambda client: client.upsert(self._name, list(rows), timeout=WRITE_SECONDS))

    def delete_ids(self, ids: Sequence[str]) -> None:
        """Delete the rows of these ids."""
        self.connection.call(lambda client: client.delete(self._name, ids=list(ids), timeout=WRITE_SECONDS))

    def delete(self, expression: Expression) -> None:
        """Delete the rows that an expression selects when Milvus gets it."""
        self.connection.call(lambda client: client.delete(self._name, filter=expression, timeout=WRITE_SECONDS))

    def _query(self, expression: Expression, columns: Sequence[str], options: dict[str, object]) -> list[Row]:
        def ask(client: Any) -> Any:
            return client.query(
                self._name,
                filter=expression,
                output_fields=list(columns),
                consistency_level=CONSISTENCY,
                timeout=READ_SECONDS,
                **options,
            )

        return list(self.connection.call(ask))
