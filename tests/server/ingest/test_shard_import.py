"""`askew items import` of shards: what they hold becomes a gallery, and sets that do not belong together are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from askew_client.cli.taken import Intake
from askew_client.encoding.encoder import Encoder
from askew_server.ingest.index_shard import ShardWork, index_shard
from askew_server.ingest.parquet import ParquetItems
from askew_server.ingest.shards import Shard
from tests.support.gallery_files import stored_items
from tests.support.in_process_cli import call_askew
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer
from tests.support.small_encoders import make_encoder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> Path:
    """A folder with eight photos, a CSV, and the shards 1/2, 2/2 and 1/3 of them."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "photos").mkdir()
    for number, photo in enumerate(sorted((DEMO / "gallery").glob("*.jpg"))[:8]):
        shutil.copy(photo, folder / "photos" / f"{number}.jpg")
    (folder / "known.csv").write_text("\n".join(["file,id,room", *(f"photos/{n}.jpg,item-{n},r{n}" for n in range(8))]))
    for shard in (Shard(1, 2), Shard(2, 2), Shard(1, 3)):
        path = folder / f"{shard.number}-{shard.total}.parquet"
        index_shard(ShardWork(folder / "photos", teacher_file, shard, path, payloads=folder / "known.csv"))
    return folder


def test_shards_make_the_gallery_that_one_run_makes_and_a_second_import_changes_nothing(
    made: Path, tmp_path: Path, teacher_file: Path
) -> None:
    shards = [made / "1-2.parquet", made / "2-2.parquet"]
    command: list[str | Path] = [
        "items",
        "import",
        *shards,
        "--data",
        tmp_path / "data",
        "--gallery",
        "objects",
        "--expect-shards",
        "2",
    ]
    for _ in range(2):
        done = call_askew(*command, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["stored"] == 8
    at_once: list[str | Path] = [
        "--encoder",
        teacher_file,
        "--payloads",
        made / "known.csv",
        "--data",
        tmp_path / "once",
    ]
    done = call_askew("index", made / "photos", *at_once, "--gallery", "objects")
    assert done.returncode == 0, done.stderr
    found, expected = stored_items(tmp_path / "data"), stored_items(tmp_path / "once")
    assert set(found) == set(expected) == {f"item-{number}" for number in range(8)}
    for identity, item in found.items():
        assert item.vector == expected[identity].vector
        assert json.loads(str(item.payload)) == json.loads(str(expected[identity].payload))


def test_a_server_stores_the_pictures_which_are_described_to_nearly_the_same_vector(
    made: Path, server: RunningServer, teacher: Encoder
) -> None:
    done = call_askew("items", "import", *sorted(made.glob("?-2.parquet")), "--server", server.url, "--gallery", "new")
    assert done.returncode == 0, done.stderr
    for number in range(8):
        picture = server.http.get(f"/v1/galleries/new/items/item-{number}/photo").raise_for_status().content
        assert len(picture) < (made / "photos" / f"{number}.jpg").stat().st_size
        assert float(teacher.encode(picture) @ teacher.encode(made / "photos" / f"{number}.jpg")) > 0.999


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        (["1-2", "1-2"], [], "got .*1-2.parquet twice"),
        (["1-2", "again"], [], "1-2.parquet and .*again.parquet are both shard 1/2"),
        (["1-2", "1-3"], [], "parts of different numbers overlap"),
        (["1-2", "other"], [], "is in space sp1-.*, .*other.parquet in sp1-"),
        (["1-2", "newer"], [], "A gallery has one teacher"),
        (["1-2"], ["--expect-shards", "2"], "Of 2 shards, these are not among the files: 2"),
        (["1-2", "2-2"], ["--expect-shards", "3"], "Is --expect-shards 2 meant"),
        (["1-2", "plain"], ["--expect-shards", "2"], "plain.parquet is no shard"),
        (["1-2", "cut"], ["--expect-shards", "2"], "cut.parquet cannot be read"),
        (["1-2", "absent"], [], "absent.parquet cannot be read"),
        (["1-2", "strange"], [], "says inconsistently which shard"),
    ],
)
def test_a_set_that_does_not_belong_together_is_refused_before_anything_is_stored(
    made: Path, tmp_path: Path, teacher_file: Path, files: list[str], options: list[str], said: str
) -> None:
    for path in made.glob("*.parquet"):
        shutil.copy(path, tmp_path)
    first = tmp_path / "1-2.parquet"
    shutil.copy(first, tmp_path / "again.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "2-2.parquet").read_bytes()[:-2_000])
    table = parquet.read_table(tmp_path / "2-2.parquet")
    metadata = table.schema.metadata
    parquet.write_table(
        table.replace_schema_metadata({**metadata, b"askew.shard": b"9/2"}), tmp_path / "strange.parquet"
    )
    plain = {key: value for key, value in metadata.items() if key == b"askew.space"}
    parquet.write_table(table.replace_schema_metadata(plain), tmp_path / "plain.parquet")
    for name, options_of_encoder in (("other", {"seed": 7}), ("newer", {"version": "2"})):
        if name in files:
            encoder = make_encoder(tmp_path / f"{name}.onnx", role="teacher", **options_of_encoder)
            index_shard(ShardWork(made / "photos", encoder, Shard(2, 2), tmp_path / f"{name}.parquet"))
    named = [tmp_path / f"{name}.parquet" for name in files]
    done = call_askew("items", "import", *named, "--data", tmp_path / "data", *options)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert not (tmp_path / "data").exists()


def test_a_missing_shard_is_named_and_the_others_are_stored(made: Path, tmp_path: Path) -> None:
    done = call_askew("items", "import", made / "1-2.parquet", "--data", tmp_path / "data", "--gallery", "objects")
    assert done.returncode == 0
    assert "Of 2 shards, these are not among the files: 2." in done.stderr


def test_an_id_in_two_shards_and_a_picture_that_is_none_are_named_and_the_rest_is_stored(
    made: Path, tmp_path: Path
) -> None:
    table = parquet.read_table(made / "2-2.parquet")
    first = parquet.read_table(made / "1-2.parquet")["id"][0].as_py()
    ids, photos = table["id"].to_pylist(), table["photo"].to_pylist()
    lost = ids[1]
    ids[0], photos[1] = first, b"no photo"
    table = table.set_column(0, table.schema.field("id"), arrow.array(ids))
    table = table.set_column(4, table.schema.field("photo"), arrow.array(photos, arrow.binary()))
    parquet.write_table(table, tmp_path / "2.parquet")
    files = [made / "1-2.parquet", tmp_path / "2.parquet"]
    done = call_askew("items", "import", *files, "--data", tmp_path / "data", "--gallery", "objects", "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert (report["stored"], report["skipped"]["count"]) == (6, 2)
    assert set(report["skipped"]["reasons"]) == {
        "another file has an item of the same id",
        "with something else than a photo in the column `photo`",
    }
    assert f"Row 0 of {tmp_path / '2.parquet'} has the id {first!r} of an item in another file" in done.stderr
    stored = stored_items(tmp_path / "data")
    assert lost not in stored
    before = np.array(parquet.read_table(made / "1-2.parquet")["vector"][0].as_py(), "<f2").tobytes()
    assert stored[first].vector == before


def test_large_photos_are_read_a_few_at_a_time(made: Path, tmp_path: Path) -> None:
    table = parquet.read_table(made / "1-2.parquet").slice(0, 1)
    photo = table["photo"][0].as_py() + bytes(np.random.default_rng(0).bytes(1_000_000))
    large = table.set_column(4, table.schema.field("photo"), arrow.array([photo], arrow.binary()))
    parquet.write_table(
        arrow.concat_tables([large] * 150), tmp_path / "large.parquet", row_group_size=50, use_dictionary=False
    )
    intake = Intake("items")
    batches = list(ParquetItems(tmp_path / "large.parquet").batches(64, intake))
    assert sum(len(batch.ids) for batch in batches) == 150
    assert max(sum(len(content) for content, _ in filter(None, batch.photos)) for batch in batches) < 70_000_000
