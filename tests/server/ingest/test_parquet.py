"""Items as Parquet: an export is imported again to the bit, and invalid files are refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray

from askew_client.contract.manifest import Manifest
from askew_client.encoding.encoder import Encoder
from askew_client.errors import AskewError
from askew_server.ingest.parquet import ROWS_IN_GROUP, ParquetItems, ParquetRow, write_parquet
from tests.support.gallery_files import stored_items
from tests.support.in_process_cli import call_askew
from tests.support.running_server import RunningServer


def _listed(data: Path, gallery: str) -> dict[str, tuple[object, object]]:
    """Payload and stored vector of every item of a gallery, by id."""
    items = stored_items(data, gallery)
    return {identity: (json.loads(str(item.payload)), item.vector) for identity, item in items.items()}


def _exported(data: Path, path: Path, *options: str) -> arrow.Table:
    done = call_askew("items", "export", path, "--data", data, "--gallery", "objects", *options)
    assert done.returncode == 0, done.stderr
    return parquet.read_table(path)


def test_an_export_names_its_space_and_holds_the_stored_bytes(data: Path, tmp_path: Path, teacher: Encoder) -> None:
    table = _exported(data, tmp_path / "objects.parquet")
    assert table.schema.names == ["id", "vector", "payload", "photo_sha256"]
    assert table.schema.field("vector").type == arrow.list_(arrow.float16(), 64)
    metadata = table.schema.metadata
    assert metadata[b"askew.space"].decode() == teacher.space_id
    assert metadata[b"askew.dim"] == b"64"
    assert Manifest.model_validate_json(metadata[b"askew.teacher"]) == teacher.manifest
    assert table.num_rows == 49
    listed = _listed(data, "objects")
    for row in table.to_pylist():
        payload, vector = listed[row["id"]]
        assert json.loads(row["payload"]) == payload
        assert np.array(row["vector"], dtype="<f2").tobytes() == vector
        (photo,) = (data / "galleries" / "objects" / "photos").glob(f"*/{row['photo_sha256']}.jpg")
        assert photo.is_file()


def test_a_round_trip_changes_no_bit(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "objects.parquet"
    _exported(data, path)
    done = call_askew("items", "import", path, "--data", data, "--gallery", "again", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"stored": 49}), done.stderr
    assert _listed(data, "again") == _listed(data, "objects")


def test_a_round_trip_through_a_server_changes_no_bit(server: RunningServer, tmp_path: Path) -> None:
    path = str(tmp_path / "objects.parquet")
    for verb in (["export", path, "--gallery", "objects"], ["import", path, "--gallery", "again"]):
        done = call_askew("items", *verb, "--server", server.url)
        assert done.returncode == 0, done.stderr
    assert _listed(server.data, "again") == _listed(server.data, "objects")


def test_a_local_export_has_the_filter_of_a_served_one(data: Path, tmp_path: Path, server: RunningServer) -> None:
    condition = json.dumps({"field": "kind", "eq": 7})
    for place in (["--data", str(data)], ["--server", server.url]):
        refused = call_askew(
            "items", "export", tmp_path / "none.parquet", *place, "--gallery", "objects", "--filter", condition
        )
        assert refused.returncode == 1
        assert "Types are not converted" in refused.stderr
    assert list(tmp_path.glob("*.parquet")) == []


def test_an_export_names_the_fields_of_its_filter_that_no_item_has(
    data: Path, tmp_path: Path, server: RunningServer
) -> None:
    condition = json.dumps({"or": [{"field": "knid", "eq": "object"}, {"field": "kind", "eq": "object"}]})
    written = []
    for place in (["--data", str(data)], ["--server", server.url]):
        options = [*place, "--gallery", "objects", "--filter", condition, "--json"]
        done = call_askew("items", "export", tmp_path / "some.parquet", *options)
        assert done.returncode == 0, done.stderr
        assert "askew: warning: no item of the gallery has the field 'knid'." in done.stderr
        written.append(json.loads(done.stdout)["written"])
    assert written[0] == written[1] > 0


def test_a_filter_and_no_vectors(data: Path, tmp_path: Path) -> None:
    condition = json.dumps({"field": "kind", "eq": "object"})
    table = _exported(data, tmp_path / "some.parquet", "--filter", condition, "--without-vectors")
    assert table.schema.names == ["id", "payload", "photo_sha256"]
    kinds = [json.loads(text)["kind"] for text in table["payload"].to_pylist()]
    assert set(kinds) == {"object"}
    assert 0 < len(kinds) < 49
    refused = call_askew("items", "import", tmp_path / "some.parquet", "--data", data)
    assert refused.returncode == 1
    assert "Expected the columns `id` and `vector`" in refused.stderr


def _unit(rows: int, dim: int = 64) -> NDArray[np.float64]:
    vectors = np.random.default_rng(1).standard_normal((rows, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["list of float", "list of double", "fixed list of float"])
def test_a_file_made_by_others_needs_only_ids_vectors_and_the_name_of_its_space(
    data: Path, tmp_path: Path, teacher: Encoder, kind: str
) -> None:
    types = {
        "list of float": arrow.list_(arrow.float32()),
        "list of double": arrow.list_(arrow.float64()),
        "fixed list of float": arrow.list_(arrow.float32(), 64),
    }
    vectors = _unit(30)
    path = tmp_path / "theirs.parquet"
    parquet.write_table(
        arrow.table({"id": arrow.array(range(30)), "vector": arrow.array(vectors.tolist(), types[kind])}), path
    )
    command: list[str | Path] = ["items", "import", path, "--data", data, "--gallery", "objects"]
    unnamed = call_askew(*command)
    assert unnamed.returncode == 1
    assert "--space" in unnamed.stderr
    foreign = call_askew(*command, "--space", "sp1-" + "0" * 32)
    assert foreign.returncode == 1
    assert f"is in space {teacher.space_id}" in foreign.stderr
    done = call_askew(*command, "--space", teacher.space_id)
    assert done.returncode == 0, done.stderr
    listed = _listed(data, "objects")
    assert len(listed) == 49 + 30
    assert listed["7"][1] == vectors[7].astype("<f2").tobytes()
    assert listed["7"][0] == {}


def _table(change: Callable[[dict[str, list[object]]], object]) -> arrow.Table:
    columns: dict[str, list[object]] = {
        "id": [f"item-{row}" for row in range(5)],
        "vector": [vector.astype(np.float32).tolist() for vector in _unit(5)],
        "payload": ["{}"] * 5,
    }
    change(columns)
    return arrow.table(columns)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda columns: columns["vector"].__setitem__(3, [0.1] * 63), "Row 3 of"),
        (lambda columns: columns["vector"].__setitem__(2, [0.5] * 64), "Row 2 of"),
        (lambda columns: columns["vector"].__setitem__(4, [float("nan")] * 64), "Row 4 of"),
        (lambda columns: columns["vector"].__setitem__(4, [1e300] * 64), "Row 4 of"),
        (lambda columns: columns["vector"].__setitem__(1, None), "has no vector"),
        (lambda columns: columns["id"].__setitem__(1, "a\nb"), "Row 1 of"),
        (lambda columns: columns["id"].__setitem__(1, None), "Row 1 of"),
        (lambda columns: columns["payload"].__setitem__(4, "[1]"), "Row 4 of"),
        (lambda columns: columns["payload"].__setitem__(4, "{"), "Row 4 of"),
        (lambda columns: columns["payload"].__setitem__(4, '{"a": NaN}'), "Row 4 of"),
        (lambda columns: columns.__setitem__("vector", ["text"] * 5), "Expected lists of float"),
        (lambda columns: columns.pop("id"), "Expected the columns"),
    ],
)
def test_an_invalid_row_is_named(
    tmp_path: Path, change: Callable[[dict[str, list[object]]], object], words: str
) -> None:
    path = tmp_path / "bad.parquet"
    parquet.write_table(_table(change), path)
    with pytest.raises(AskewError, match=words):
        list(ParquetItems(path).batches(64))


@pytest.mark.parametrize("damage", ["text", "cut", "flipped", "missing"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, teacher: Encoder, damage: str) -> None:
    path = tmp_path / "objects.parquet"
    rows = [
        ParquetRow(f"item-{row}", vector.astype("<f2").tobytes(), "{}", None) for row, vector in enumerate(_unit(99))
    ]
    write_parquet(path, teacher.manifest, rows, with_vectors=True, written=lambda _: None)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = content.index(rows[50].vector or b"")
        changed = {
            "text": b"id,vector\n",
            "cut": content[: len(content) // 2],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        }
        path.write_bytes(changed[damage])
    with pytest.raises(AskewError, match=f"{path}.*cannot be read"):
        list(ParquetItems(path).batches(64))


def test_rows_are_written_in_groups_so_that_memory_is_bounded(tmp_path: Path, teacher: Encoder) -> None:
    vector = np.eye(1, 64, dtype="<f2")[0].tobytes()
    count = 2 * ROWS_IN_GROUP + 7
    rows = (ParquetRow(f"item-{row}", vector, "{}", None) for row in range(count))
    seen: list[int] = []
    path = tmp_path / "many.parquet"
    assert write_parquet(path, teacher.manifest, rows, with_vectors=True, written=seen.append) == count
    assert seen == [ROWS_IN_GROUP, 2 * ROWS_IN_GROUP, count]
    assert parquet.ParquetFile(path).num_row_groups == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_export_leaves_the_older_file(tmp_path: Path, teacher: Encoder) -> None:
    path = tmp_path / "kept.parquet"
    path.write_bytes(b"the older export")

    def rows() -> Iterator[ParquetRow]:
        yield ParquetRow("a", np.eye(1, 64, dtype="<f2")[0].tobytes(), "{}", None)
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        write_parquet(path, teacher.manifest, rows(), with_vectors=True, written=lambda _: None)
    assert path.read_bytes() == b"the older export"
    assert list(tmp_path.iterdir()) == [path]
