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

from askew_client.cli.taken import Intake
from askew_client.contract.manifest import Manifest
from askew_client.encoding.encoder import Encoder
from askew_client.errors import AskewError
from askew_server.ingest.parquet import ParquetItems
from askew_server.ingest.parquet_writing import ROWS_IN_GROUP, ParquetRow, write_parquet
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
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 49
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


BAD_ROWS: dict[str, tuple[int, Callable[[dict[str, list[object]]], object]]] = {
    "vectors of another length": (3, lambda columns: columns["vector"].__setitem__(3, [0.1] * 63)),
    "vectors that are not of length 1": (2, lambda columns: columns["vector"].__setitem__(2, [0.5] * 64)),
    "vectors that are not of length 1 (NaN)": (
        4,
        lambda columns: columns["vector"].__setitem__(4, [float("nan")] * 64),
    ),
    "vectors that are not of length 1 (huge)": (4, lambda columns: columns["vector"].__setitem__(4, [1e300] * 64)),
    "vectors that are not of length 1 (null)": (0, lambda columns: columns["vector"].__setitem__(0, [None] * 64)),
    "rows without a vector": (1, lambda columns: columns["vector"].__setitem__(1, None)),
    "ids that an item cannot have": (1, lambda columns: columns["id"].__setitem__(1, "a\nb")),
    "ids that an item cannot have (null)": (1, lambda columns: columns["id"].__setitem__(1, None)),
    "ids that an item cannot have (empty)": (1, lambda columns: columns["id"].__setitem__(1, "")),
    "payloads that are no JSON object": (4, lambda columns: columns["payload"].__setitem__(4, "[1]")),
    "payloads that are no JSON object (cut)": (4, lambda columns: columns["payload"].__setitem__(4, "{")),
    "payloads that are no JSON object (NaN)": (4, lambda columns: columns["payload"].__setitem__(4, '{"a": NaN}')),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_row_that_cannot_be_taken_is_named_and_the_others_are_stored(
    data: Path, tmp_path: Path, teacher: Encoder, case: str
) -> None:
    row, change = BAD_ROWS[case]
    path = tmp_path / "bad.parquet"
    parquet.write_table(_table(change), path)
    command: list[str | Path] = [
        "items",
        "import",
        path,
        "--data",
        data,
        "--gallery",
        "objects",
        "--space",
        teacher.space_id,
    ]
    done = call_askew(*command, "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["stored"] == report["taken"] == 4
    reason = case.partition(" (")[0]
    assert report["skipped"]["count"] == 1
    assert list(report["skipped"]["reasons"][reason]["first"]) == [f"row {row}"]
    assert f"Row {row} of {path}" in done.stderr
    assert {f"item-{each}" for each in range(5) if each != row} <= set(_listed(data, "objects"))
    assert f"item-{row}" not in _listed(data, "objects")
    shown = call_askew(*command)
    assert shown.stdout == "Gallery 'objects': 4 items stored, 1 rows skipped.\n"


@pytest.mark.parametrize("where", ["data", "server"])
def test_later_rows_of_the_same_id_replace_earlier_ones_and_only_items_are_counted(
    data: Path, tmp_path: Path, teacher: Encoder, server: RunningServer, where: str
) -> None:
    path = tmp_path / "twice.parquet"
    vectors = [vector.astype(np.float32).tolist() for vector in _unit(3_000)]
    ids = [f"row{row % 1_500}" for row in range(3_000)]
    payloads = [json.dumps({"row": row}) for row in range(3_000)]
    parquet.write_table(arrow.table({"id": ids, "vector": vectors, "payload": payloads}), path)
    place: list[str | Path] = ["--data", data] if where == "data" else ["--server", server.url]
    command: list[str | Path] = ["items", "import", path, *place, "--gallery", "objects", "--space", teacher.space_id]
    done = call_askew(*command, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["stored"], report["replaced"]["count"]) == (1_500, 1_500)
    shown = call_askew(*command)
    assert shown.stdout == "Gallery 'objects': 1,500 items stored, 1,500 replaced by later rows of the same id.\n"
    listed = _listed(data if where == "data" else server.data, "objects")
    assert {identity for identity in listed if identity.startswith("row")} == set(ids)
    assert listed["row7"][0] == {"row": 1_507}


def test_a_row_that_the_server_refuses_is_found_and_the_others_are_stored(
    tmp_path: Path, teacher: Encoder, server: RunningServer
) -> None:
    path = tmp_path / "large.parquet"
    payloads = ["{}"] * 40
    payloads[23] = json.dumps({"text": "x" * 33_000_000})
    vectors = [vector.astype(np.float32).tolist() for vector in _unit(40)]
    parquet.write_table(
        arrow.table({"id": [f"large-{row}" for row in range(40)], "vector": vectors, "payload": payloads}), path
    )
    done = call_askew(
        "items", "import", path, "--server", server.url, "--gallery", "objects", "--space", teacher.space_id, "--json"
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["stored"] == 39
    assert list(report["skipped"]["reasons"]["refused by the server"]["first"]) == ["row 23"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda columns: columns.__setitem__("vector", ["text"] * 5), "Expected lists of float"),
        (lambda columns: columns.pop("id"), "Expected the columns"),
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: Path, change: Callable[[dict[str, list[object]]], object], words: str
) -> None:
    path = tmp_path / "bad.parquet"
    parquet.write_table(_table(change), path)
    with pytest.raises(AskewError, match=words):
        list(ParquetItems(path).batches(64, Intake("items")))


def _damaged(path: Path, teacher: Encoder, count: int, row: int) -> None:
    """A file of `count` rows; one bit of the vector of one is flipped."""
    rows = [
        ParquetRow(f"item-{at}", vector.astype("<f2").tobytes(), "{}", None) for at, vector in enumerate(_unit(count))
    ]
    write_parquet(path, teacher.manifest, rows, with_vectors=True, written=lambda _: None)
    content = path.read_bytes()
    middle = content.index(rows[row].vector or b"")
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("row", [50, ROWS_IN_GROUP + 50, 2 * ROWS_IN_GROUP + 50])
def test_a_damaged_part_is_named_row_by_row_and_the_rest_is_read(tmp_path: Path, teacher: Encoder, row: int) -> None:
    path = tmp_path / "flipped.parquet"
    count = 2 * ROWS_IN_GROUP + 99
    _damaged(path, teacher, count, row)
    intake = Intake("items")
    taken = [each for batch in ParquetItems(path).batches(64, intake) for each in batch.rows]
    assert taken == sorted(set(taken))
    assert len(taken) + intake.count("skipped") == count
    group = row // ROWS_IN_GROUP
    assert row not in taken
    for other in {0, 1, 2} - {group}:
        assert set(range(other * ROWS_IN_GROUP, min(count, (other + 1) * ROWS_IN_GROUP))) <= set(taken)


@pytest.mark.parametrize("damage", ["text", "cut", "missing"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, teacher: Encoder, damage: str) -> None:
    path = tmp_path / "objects.parquet"
    _damaged(path, teacher, 99, 50)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"text": b"id,vector\n", "cut": content[: len(content) // 2]}[damage])
    with pytest.raises(AskewError, match=f"{path}.*cannot be read"):
        list(ParquetItems(path).batches(64, Intake("items")))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_in_exactly_one_count(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    changes = [change for _, change in BAD_ROWS.values()]
    tables = []
    for _ in range(int(random.integers(1, 9))):
        table = _table(
            lambda columns: None if random.random() < 0.3 else changes[random.integers(len(changes))](columns)
        )
        tables.append(
            table.cast(
                arrow.schema([("id", "string"), ("vector", arrow.list_(arrow.float64())), ("payload", "string")])
            )
        )
    path = tmp_path / "many.parquet"
    parquet.write_table(arrow.concat_tables(tables), path, row_group_size=int(random.integers(1, 12)))
    intake = Intake("items")
    taken = [each for batch in ParquetItems(path).batches(64, intake) for each in batch.rows]
    skipped = {int(name.removeprefix("row ")) for reason in intake.reasons["skipped"].values() for name in reason.first}
    assert len(taken) + intake.count("skipped") == 5 * len(tables)
    assert sorted([*taken, *skipped]) == list(range(5 * len(tables)))


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
