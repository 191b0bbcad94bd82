"""`askew gallery migrate`: everything or nothing is switched, whatever ends it, and what Milvus cannot hold is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.errors import AskewError
from askew_server.gallery.catalog import Catalog
from askew_server.maintenance.milvus_record import MigrationRecords
from askew_server.storage.items import ItemBatch
from tests.server.milvus.varied_items import vectors_of
from tests.support.in_process_cli import call_askew
from tests.support.milvus_server import MilvusServer
from tests.support.running_server import start_askew
from tests.support.waiting import in_thread, wait_until

pytestmark = pytest.mark.slow

MANY = 6_000


def make_data(data: Path, teacher_file: Path, payloads: dict[str, str]) -> Path:
    """A DATA whose gallery `shop`, with the alias `app`, has items with these payloads."""
    teacher = read_encoder_file(teacher_file).manifest
    vectors = vectors_of(len(payloads), teacher.dim).astype(np.float16)
    with closing(Catalog(data, owner="a test")) as catalog:
        gallery, _ = catalog.get_or_create("shop", teacher)
        gallery.run(lambda each: each.upsert(ItemBatch(list(payloads), vectors, list(payloads.values()))))
        catalog.set_alias("app", "shop")
    return data


@pytest.fixture
def own_milvus(tmp_path: Path) -> Iterator[MilvusServer]:
    """A Milvus that the test may kill."""
    with MilvusServer(tmp_path / "lite") as running:
        yield running


def count_in(client: MilvusClient, collection: str = "askew_shop_milvus") -> int:
    """The rows of a collection; 0 while there is none."""
    if not client.has_collection(collection):
        return 0
    return int(client.get_collection_stats(collection)["row_count"])


def _holds(client: MilvusClient, least: int) -> bool:
    return count_in(client) >= least


def client_of(milvus: MilvusServer) -> closing[MilvusClient]:
    return closing(MilvusClient(f"http://127.0.0.1:{milvus.port}", dedicated=True))


def test_what_milvus_cannot_hold_is_counted_by_reason_and_nothing_is_migrated(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer
) -> None:
    payloads = {f"good {number}": "{}" for number in range(5)}
    payloads |= {f"long {number}": json.dumps({"text": "é" * 40_000}, ensure_ascii=False) for number in range(25)}
    payloads |= {"many": json.dumps({"tags": [f"tag {number}" for number in range(5_000)]})}
    data = make_data(tmp_path / "data", teacher_file, payloads)
    done = call_askew(
        "gallery", "migrate", "shop", "--to", milvus.address, "--data", data, "--refused", tmp_path / "refused.jsonl"
    )
    assert done.returncode == 1
    assert "25 items have a payload of more than 65,535 bytes" in done.stderr
    assert "long 0 (80,012 bytes)" in done.stderr
    assert "and 5 more" in done.stderr
    assert "1 items have a payload of more than 4,096 facts to filter by" in done.stderr
    named = [json.loads(line)["id"] for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert sorted(named) == sorted(payloads)[5:]
    with client_of(milvus) as client:
        assert count_in(client) == 0
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        assert (catalog.names(), catalog.aliases()) == (["shop"], {"app": "shop"})


def test_a_migration_whose_milvus_goes_away_goes_on(
    tmp_path: Path, teacher_file: Path, own_milvus: MilvusServer
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {f"item {number}": "{}" for number in range(MANY)})
    command = ("gallery", "migrate", "shop", "--to", own_milvus.address, "--data", data)
    running = in_thread(lambda: call_askew(*command))
    with client_of(own_milvus) as client:
        wait_until(lambda: running.done() or count_in(client) > 0, "the first items")
    own_milvus.kill()
    cut_off = running.result(timeout=120)
    assert cut_off.returncode == 1
    assert "Nothing was switched" in cut_off.stderr
    own_milvus.start()
    # Another collection would leave the first one behind.
    assert "--undo" in call_askew(*command, "--collection", "other").stderr
    done = call_askew(*command)
    assert done.returncode == 0, done.stderr
    assert f"has {MANY} items" in done.stdout
    assert f"({MANY} written now)" not in done.stdout
    assert "Alias 'app' names gallery 'shop-milvus' now." in done.stdout
    assert "is complete" in call_askew(*command).stderr
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        assert (catalog.names(), catalog.aliases()) == (["shop", "shop-milvus"], {"app": "shop-milvus"})
        assert [catalog.describe(name).items for name in catalog.names()] == [MANY, MANY]


@pytest.mark.drill
def test_a_migration_that_is_killed_is_undone_or_goes_on(
    tmp_path: Path, teacher_file: Path, own_milvus: MilvusServer
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {f"item {number}": "{}" for number in range(MANY)})
    command = ("gallery", "migrate", "shop", "--to", own_milvus.address, "--data", data)

    def kill_at(least: int) -> None:
        process = start_askew(*command)
        with client_of(own_milvus) as client:
            wait_until(partial(_holds, client, least), f"{least} items")
        process.kill()
        process.communicate(timeout=60)

    kill_at(1)
    undone = call_askew(*command, "--undo")
    assert undone.returncode == 0, undone.stderr
    with client_of(own_milvus) as client:
        assert count_in(client) == 0
    assert "No unfinished migration" in call_askew(*command, "--undo").stderr
    kill_at(1)
    kill_at(MANY // 3)
    done = call_askew(*command)
    assert done.returncode == 0, done.stderr
    assert f"has {MANY} items" in done.stdout
    assert f"({MANY} written now)" not in done.stdout


def test_what_was_written_after_the_switch_survives_the_command_that_goes_on(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at its last step, a migration looks complete: servers write to the new gallery."""
    data = make_data(tmp_path / "data", teacher_file, {f"item {number}": "{}" for number in range(20)})
    command = ("gallery", "migrate", "shop", "--to", milvus.address, "--data", data, "--into", "survives")
    with monkeypatch.context() as cut:
        cut.setattr(MigrationRecords, "remove", _cut_off)
        assert "cut off" in call_askew(*command).stderr
    assert "named by" in call_askew(*command, "--undo").stderr
    vectors = vectors_of(2, read_encoder_file(teacher_file).manifest.dim).astype(np.float16)
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        written = ItemBatch(["item 3", "new"], vectors, ['{"price":9}', "{}"])
        catalog.get("app").run(lambda each: each.upsert(written))
    done = call_askew(*command)
    assert done.returncode == 0, done.stderr
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        row = catalog.get("app").run(lambda each: each.store.item("item 3"))
        assert row is not None and row.payload == {"price": 9}
        assert catalog.get("app").run(lambda each: each.store.counts()[0]) == 21
    assert "is complete" in call_askew(*command).stderr


def test_a_gallery_that_was_changed_after_it_was_copied_is_not_switched(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {f"item {number}": "{}" for number in range(20)})
    command = ("gallery", "migrate", "shop", "--to", milvus.address, "--data", data, "--into", "stale")
    with monkeypatch.context() as cut:
        cut.setattr(Catalog, "set_alias", _cut_off)
        assert "cut off" in call_askew(*command).stderr
    vectors = vectors_of(1, read_encoder_file(teacher_file).manifest.dim).astype(np.float16)
    with closing(Catalog(data, owner="a test")) as catalog:
        catalog.load()
        catalog.get("app").run(lambda each: each.upsert(ItemBatch(["new"], vectors, ["{}"])))
    refused = call_askew(*command)
    assert refused.returncode == 1 and "was changed after it was copied" in refused.stderr
    assert call_askew(*command, "--undo").returncode == 0
    done = call_askew(*command)
    assert done.returncode == 0 and "has 21 items" in done.stdout, done.stderr


def test_a_collection_whose_making_was_cut_off_is_completed(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {f"item {number}": "{}" for number in range(20)})
    command = ("gallery", "migrate", "shop", "--to", milvus.address, "--data", data, "--into", "half")
    with monkeypatch.context() as cut:
        cut.setattr(MilvusClient, "create_index", _cut_off)
        cut.setattr(MilvusClient, "drop_collection", lambda *_, **__: None)
        assert "cut off" in call_askew(*command).stderr
    done = call_askew(*command)
    assert done.returncode == 0, done.stderr
    with client_of(milvus) as client:
        assert len(client.list_indexes("askew_half")) == 2


def test_a_collection_with_another_index_is_not_taken_for_an_exact_one(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {"item": "{}"})
    place = ("--backend", milvus.address, "--collection", "of_hnsw", "--data", data, "--encoder", teacher_file)
    made = call_askew("gallery", "create", "near", *place, "--index-type", "HNSW", "--index-parameters", '{"M": 8}')
    assert made.returncode == 0, made.stderr
    refused = call_askew("gallery", "create", "exact", *place)
    assert refused.returncode == 1
    assert "Expected an index of type FLAT" in refused.stderr and "HNSW" in refused.stderr
    assert call_askew("gallery", "create", "again", *place, "--index-type", "HNSW").returncode == 0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ('{"M": NaN}', "Expected"),
        ('{"M": Infinity}', "Expected"),
        ('{"M": 1e999}', "Expected"),
        ("[" * 5_000, "Expected --index-parameters as a JSON object"),
    ],
)
def test_parameters_that_could_not_be_read_again_are_refused(
    tmp_path: Path, teacher_file: Path, milvus: MilvusServer, parameters: str, said: str
) -> None:
    data = make_data(tmp_path / "data", teacher_file, {"item": "{}"})
    command = ("gallery", "migrate", "shop", "--to", milvus.address, "--data", data, "--into", "readable")
    refused = call_askew(*command, "--index-parameters", parameters)
    assert refused.returncode == 1 and said in refused.stderr and "ASKEW_DEBUG" not in refused.stderr
    # No record and no gallery stand in the way.
    assert "No unfinished migration" in call_askew(*command, "--undo").stderr


def _cut_off(*_: object, **__: object) -> None:
    raise AskewError("cut off")
