"""Items from a Parquet file, for an import. Needs pyarrow. parquet_writing.py says what is in an exported file.

At most one row group at a time is read, so memory does not grow with the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from askew_client.cli.taken import Intake
from askew_client.contract.common import ItemId, Payload
from askew_client.contract.manifest import Manifest
from askew_client.contract.wire import NORM_TOLERANCE, check_vector
from askew_client.encoding.photos import SUFFIX_BY_MEDIA_TYPE, media_type, read_shape
from askew_client.errors import AskewError, PhotoError, WireError
from askew_client.wording import describe_error
from askew_server.ingest.parquet_writing import load_pyarrow
from askew_server.ingest.shard_file import ShardFacts, facts_of, is_shard

_BATCH = 1_024
_BATCH_BYTES = 64 << 20
"""Photos may be large: a batch has fewer rows then."""

UNREADABLE = "damaged"

_ID: TypeAdapter[str] = TypeAdapter(ItemId)
_PAYLOAD: TypeAdapter[Payload] = TypeAdapter(Payload)


@dataclass(frozen=True)
class ParquetBatch:
    """Items that were read. `rows`: their numbers in the file, from 0; `vectors`: float32 [n, D], unit length.

    `photos`: the bytes and the suffix of each item's photo, None if the file has none for it.
    """

    rows: list[int]
    ids: list[str]
    vectors: NDArray[np.float32]
    payloads: list[Payload]
    photos: list[tuple[bytes, str] | None]

    def chosen(self, places: Sequence[int]) -> ParquetBatch:
        """The items at these places, from 0."""
        return ParquetBatch(
            [self.rows[place] for place in places],
            [self.ids[place] for place in places],
            self.vectors[list(places)],
            [self.payloads[place] for place in places],
            [self.photos[place] for place in places],
        )


class ParquetItems:
    """A Parquet file to import: one from `askew items export`, or any with the columns `id` and `vector`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Open the file and check its columns. `name`: what the counts call it, if they are of several files. Raises AskewError."""
        self._arrow, parquet = load_pyarrow()
        self.path = path
        self._name = name
        try:
            options = {"pre_buffer": False, "buffer_size": 1_048_576, "page_checksum_verification": True}
            self._file = parquet.ParquetFile(path, **options)
        except (OSError, self._arrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise AskewError(
                f"Expected a Parquet file, but {path} cannot be read ({reason}). Check the path and the file."
            ) from None
        names = set(self._file.schema_arrow.names)
        if not {"id", "vector"} <= names:
            raise AskewError(
                f"Expected the columns `id` and `vector` in {path}, got {', '.join(sorted(names)) or 'none'}. "
                "A file that was exported without vectors cannot be imported; export it with vectors."
            )
        # Other programs may have other things in a column of this name.
        has_photos = "photo" in names and _is_binary(self._arrow, self._file.schema_arrow.field("photo").type)
        optional = [*(["payload"] if "payload" in names else []), *(["photo"] if has_photos else [])]
        self._columns = ["id", "vector", *optional]
        self._metadata: dict[bytes, bytes] = self._file.schema_arrow.metadata or {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def row(self, number: int) -> str:
        """What the counts call a row."""
        return f"{self._name} row {number}" if self._name else f"row {number}"

    @property
    def rows(self) -> int:
        """The number of items in the file."""
        return int(self._file.metadata.num_rows)

    @property
    def shard(self) -> ShardFacts | None:
        """Which shard of which encoder it is, None if it is none. Raises AskewError."""
        return facts_of(self._metadata, self.path) if is_shard(self._metadata) else None

    @property
    def space(self) -> str | None:
        """The space of the vectors, as stated in the file; None if it states none."""
        space = self._metadata.get(b"askew.space")
        return None if space is None else space.decode(errors="replace")

    @property
    def teacher(self) -> Manifest | None:
        """The manifest of the teacher, as stated in the file; None if it states none. Raises AskewError."""
        text = self._metadata.get(b"askew.teacher")
        try:
            return None if text is None else Manifest.model_validate_json(text)
        except ValidationError:
            raise AskewError(
                f"The teacher's manifest in {self.path} is inconsistent. Was the file changed since its export? Export the "
                "items again."
            ) from None

    def batches(self, dim: int, intake: Intake) -> Iterator[ParquetBatch]:
        """The items, up to about a thousand at a time. Rows that cannot be taken are counted in `intake` and left out.

        Raises AskewError if the columns hold something else than ids and vectors of `dim` values.
        """
        for start, batch in self._readable(intake):
            yield self._read(batch, dim, start, intake)

    def _readable(self, intake: Intake) -> Iterator[tuple[int, Any]]:
        """Batches of rows with the number of their first row. The rest of a damaged row group is counted as skipped."""
        metadata = self._file.metadata
        starts = [0]
        for group in range(metadata.num_row_groups):
            starts.append(starts[-1] + metadata.row_group(group).num_rows)
        position, first = 0, 0
        while position < starts[-1]:
            try:
                for start, batch in self._batches_of(range(first, len(starts) - 1), starts, position):
                    position = start + batch.num_rows
                    yield start, batch
                return
            except (OSError, self._arrow.ArrowException):
                # A batch may reach into the next group, and only one of the two may be damaged.
                damaged = bisect_right(starts, position) - 1
            try:
                for start, batch in self._batches_of([damaged], starts, position):
                    position = start + batch.num_rows
                    yield start, batch
            except (OSError, self._arrow.ArrowException) as error:
                reason = str(error).splitlines()[0]
                for row in range(position, starts[damaged + 1]):
                    intake.skip(self.row(row), UNREADABLE, f"Row {row} of {self.path} cannot be read: {reason}")
            first = damaged + 1
            position = starts[first]

    def _batches_of(self, groups: Sequence[int], starts: list[int], position: int) -> Iterator[tuple[int, Any]]:
        """Batches of some row groups from the row `position` on, with the number of the first row of each."""
        start = starts[groups[0]]
        for batch in self._file.iter_batches(
            batch_size=self._rows_at_once(), row_groups=list(groups), columns=self._columns
        ):
            end = start + batch.num_rows
            if end > position:
                yield max(start, position), batch.slice(max(0, position - start))
            start = end

    def _rows_at_once(self) -> int:
        """How many rows make a batch: about _BATCH_BYTES at most, by the row group with the largest rows."""
        metadata = self._file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
        return max(1, min(_BATCH, int(_BATCH_BYTES / max(1, largest))))

    def _read(self, batch: Any, dim: int, start: int, intake: Intake) -> ParquetBatch:
        refused: dict[int, tuple[str, str]] = {}
        vectors = self._vectors(batch.column("vector"), dim, refused)
        ids = self._ids(batch.column("id"), refused)
        texts = _values(batch.column("payload")) if "payload" in self._columns else [None] * batch.num_rows
        payloads = [self._payload(text, row, refused) for row, text in enumerate(texts)]
        pictures = _values(batch.column("photo")) if "photo" in self._columns else [None] * batch.num_rows
        photos = [_photo(picture, row, refused) for row, picture in enumerate(pictures)]
        for row, (reason, sentence) in sorted(refused.items()):
            intake.skip(self.row(start + row), reason, f"Row {start + row} of {self.path}: {sentence}")
        rows = [row for row in range(batch.num_rows) if row not in refused]
        if refused:
            vectors = vectors[rows]
            ids, payloads = [ids[row] for row in rows], [payloads[row] for row in rows]
            photos = [photos[row] for row in rows]
        return ParquetBatch([start + row for row in rows], ids, np.ascontiguousarray(vectors), payloads, photos)

    def _ids(self, column: Any, refused: dict[int, tuple[str, str]]) -> list[str]:
        types = self._arrow.types
        if not (types.is_string(column.type) or types.is_large_string(column.type) or types.is_integer(column.type)):
            raise AskewError(f"Expected text or whole numbers in the column `id` of {self.path}, got {column.type}.")
        ids = [value if value is None else str(value) for value in _values(column)]
        for row, value in enumerate(ids):
            try:
                _ID.validate_python(value)
            except ValidationError:
                refused[row] = (
                    "ids that an item cannot have",
                    f"expected an id of 1 to 512 characters without control characters, got {str(value)[:80]!r}.",
                )
        return [str(value) for value in ids]

    def _vectors(self, column: Any, dim: int, refused: dict[int, tuple[str, str]]) -> NDArray[np.float32]:
        """The vectors of all rows, float32 [n, D]; zeros in the rows that are refused."""
        types = self._arrow.types
        kind = column.type
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if not is_list or not types.is_floating(kind.value_type):
            raise AskewError(
                f"Expected lists of float16, float32 or float64 in the column `vector` of {self.path}, got {kind}."
            )
        if types.is_fixed_size_list(kind):
            if kind.list_size != dim:
                raise AskewError(
                    f"The vectors of {self.path} have {kind.list_size} values; the gallery's have {dim}. Were they described "
                    "by the gallery's teacher?"
                )
            lengths = np.full(len(column), dim)
        else:
            lengths = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
        is_there = column.is_valid().to_numpy(zero_copy_only=False)
        whole = is_there & (lengths == dim)
        for row in np.flatnonzero(~whole):
            refused[int(row)] = (
                (
                    "vectors of another length",
                    f"its vector has {lengths[row]} values; the gallery's have {dim}. Was it described by the gallery's "
                    "teacher?",
                )
                if is_there[row]
                else ("rows without a vector", "it has no vector.")
            )
        flat = (column if whole.all() else column.filter(self._arrow.array(whole))).flatten()
        rows = np.flatnonzero(whole)
        # Huge values overflow to infinity, which the check below refuses.
        with np.errstate(over="ignore"):
            found: NDArray[np.float32] = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(-1, dim)
            norms = np.linalg.norm(found, axis=1)
        for at in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE)):
            try:
                check_vector(found[at])
            except WireError as error:
                refused[int(rows[at])] = "vectors that are not of length 1", str(error)
        if whole.all():
            return found
        vectors = np.zeros((len(column), dim), dtype=np.float32)
        vectors[rows] = found
        return vectors

    def _payload(self, text: object, row: int, refused: dict[int, tuple[str, str]]) -> Payload:
        if text is None:
            return {}
        try:
            return _PAYLOAD.validate_json(text if isinstance(text, str | bytes) else str(text))
        except ValidationError as error:
            refused[row] = (
                "payloads that are no JSON object",
                f"expected a JSON object as payload. {describe_error(error)}",
            )
        return {}


def _photo(content: object, row: int, refused: dict[int, tuple[str, str]]) -> tuple[bytes, str] | None:
    """The bytes and the suffix of a photo, as an item stores them."""
    if content is None:
        return None
    try:
        assert isinstance(content, bytes)
        read_shape(content)
        return content, SUFFIX_BY_MEDIA_TYPE[media_type(content)]
    except PhotoError as error:
        refused[row] = "with something else than a photo in the column `photo`", str(error)
        return None


def _is_binary(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))


def _values(column: Any) -> list[Any]:
    """The values of a column. Text that is not UTF-8, which other programs may have written, becomes "", which is neither an id nor a
    payload."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return ""
