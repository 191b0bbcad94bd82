"""A replica has what its primary has, whatever happened there, and wherever the feed was cut."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askew_client.contract.encoder_file import parse_encoder_file
from askew_client.contract.encoders import AdmissionReport
from askew_client.errors import AskewError
from askew_server.gallery.gallery import Gallery
from askew_server.replication import tables
from askew_server.storage.facts import MILVUS_PLACE
from askew_server.storage.items import ItemBatch, StoredItem
from tests.support.gallery_files import unit_vector
from tests.support.paths import DEMO
from tests.support.replicas import InProcessPrimary, InProcessReplica, contents
from tests.support.small_encoders import make_encoder
from tests.support.soak import examples

PHOTOS = [
    path.read_bytes() for path in sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:3]
]
NAMES = st.sampled_from(["objects", "other"])
IDS = st.sampled_from([f"item-{number}" for number in range(8)])
SOME_IDS = st.lists(IDS, min_size=1, max_size=5, unique=True)


class World:
    """A primary, its replica, and what a user may do to the primary."""

    def __init__(self, folder: Path, primary: InProcessPrimary, replica: InProcessReplica, encoders: Path) -> None:
        self.primary, self.replica = primary, replica
        self._encoders = encoders
        self._teacher = parse_encoder_file((encoders / "teacher.onnx").read_bytes(), "the teacher").manifest
        self.deleted: set[tuple[str, str]] = set()
        """Gallery and id of what was deleted since the replica had everything."""

    def write(self, name: str, ids: list[str], seed: int, photo: int | None) -> None:
        gallery, _ = self.primary.galleries.get_or_create(name, self._teacher)
        sent = None if photo is None else (PHOTOS[photo], ".jpg")
        items = [StoredItem(each, unit_vector(seed + position), {"n": seed}, sent) for position, each in enumerate(ids)]
        gallery.run(lambda each: each.upsert(ItemBatch.of(items)))

    def delete(self, name: str, ids: list[str]) -> None:
        self.deleted |= {(name, each) for each in ids}
        self._run(name, lambda each: each.delete_items(ids))

    def change_encoders(self, name: str, version: int, *, is_retired: bool) -> None:
        content = (self._encoders / f"student-{version}.onnx").read_bytes()
        file = parse_encoder_file(content, "a student")
        report = AdmissionReport(
            gallery=name, encoder=file.manifest.encoder_id, sha256=file.sha256, admitted=True, reasons=[]
        )

        def change(gallery: Gallery) -> None:
            known = [each.id for each in gallery.encoders.facts.encoders]
            if is_retired and file.manifest.encoder_id in known:
                gallery.encoders.retire(file.manifest.encoder_id)
            elif not is_retired:
                gallery.keep_encoder(file, content, report)
                gallery.encoders.set_default(file.manifest.encoder_id, "web")

        self._run(name, change)

    def change_probes(self, name: str, probe: str, photo: int) -> None:
        def change(gallery: Gallery) -> None:
            if any(each.id == probe for each in gallery.probes.describe_all().probes) and photo == 0:
                gallery.probes.remove(probe)
            else:
                gallery.probes.put(probe, unit_vector(photo), PHOTOS[photo], ".jpg")

        self._run(name, change)

    def change_alias(self, alias: str, name: str | None) -> None:
        galleries = self.primary.galleries
        if name is not None and name in galleries.names() and alias not in galleries.names():
            galleries.set_alias(alias, name)
        elif alias in galleries.aliases():
            galleries.delete_alias(alias)

    def delete_gallery(self, name: str) -> None:
        galleries = self.primary.galleries
        if name in galleries.names() and not galleries.aliases_of(name):
            galleries.delete(name)
            self.deleted |= {(name, f"item-{number}") for number in range(8)}

    def sleep(self, name: str) -> None:
        """The primary forgets what was removed."""
        if name in self.primary.galleries.names():
            self.primary.galleries.get(name).sleep()

    def follow_cut(self, cuts: list[float | None]) -> None:
        """Follow, while the connection breaks; what was not deleted stays."""
        before = self.ids()
        self.replica.transport.cuts = list(cuts)
        try:
            self.replica.follower.follow_once(0)
        except AskewError:
            pass
        assert before - self.deleted <= self.ids()

    def ids(self) -> set[tuple[str, str]]:
        return {(name, str(row[1])) for name, tables in contents(self.replica.data).items() for row in tables["items"]}

    def _run(self, name: str, change: Callable[[Gallery], object]) -> None:
        if name in self.primary.galleries.names():
            self.primary.galleries.get(name).run(change)


WRITE = st.tuples(st.just("write"), NAMES, SOME_IDS, st.integers(0, 10**6), st.none() | st.integers(0, 2))
STEP = st.one_of(
    WRITE,
    WRITE,
    st.tuples(st.just("delete"), NAMES, SOME_IDS),
    st.tuples(st.just("encoders"), NAMES, st.integers(1, 2), st.booleans()),
    st.tuples(st.just("probes"), NAMES, st.sampled_from(["p", "q"]), st.integers(0, 2)),
    st.tuples(st.just("alias"), st.sampled_from(["live", "other"]), st.none() | NAMES),
    st.tuples(st.just("delete gallery"), NAMES),
    st.tuples(st.just("sleep"), NAMES),
    st.tuples(st.just("follow")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("cut"), st.lists(st.none() | st.floats(0, 1, exclude_max=True), max_size=6)),
)


def take(world: World, step: tuple[object, ...]) -> None:
    match step:
        case "write", str(name), list(ids), int(seed), photo:
            if name not in world.primary.galleries.aliases():
                world.write(name, ids, seed, photo)  # type: ignore[arg-type]
        case "delete", str(name), list(ids):
            world.delete(name, ids)
        case "encoders", str(name), int(version), bool(is_retired):
            world.change_encoders(name, version, is_retired=is_retired)
        case "probes", str(name), str(probe), int(photo):
            world.change_probes(name, probe, photo)
        case "alias", str(alias), name:
            world.change_alias(alias, name)  # type: ignore[arg-type]
        case "delete gallery", str(name):
            world.delete_gallery(name)
        case "sleep", str(name):
            world.sleep(name)
        case ("follow",):
            follow(world)
        case ("restart",):
            world.replica.restart()
        case "cut", list(cuts):
            world.follow_cut(cuts)


def follow(world: World) -> None:
    world.replica.follow()
    world.deleted.clear()
    assert contents(world.replica.data) == contents(world.primary.data)
    assert world.replica.galleries.aliases() == world.primary.galleries.aliases()
    for name in world.primary.galleries.names():
        here, there = (each.galleries.get(name).encoders.facts for each in (world.replica, world.primary))
        assert here.admitted == there.admitted and here.defaults == there.defaults
        vectors = unit_vector(1)[None]
        with world.replica.galleries.get(name).awake() as ours, world.primary.galleries.get(name).awake() as theirs:
            assert (
                ours.search_blocking(vectors, 8).labels.tolist() == theirs.search_blocking(vectors, 8).labels.tolist()
            )


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    make_encoder(folder / "teacher.onnx", role="teacher")
    for version in (1, 2):
        make_encoder(folder / f"student-{version}.onnx", role="student", version=str(version))
    return folder


@pytest.fixture(scope="module")
def small_pages() -> Iterator[None]:
    """Pages of 3 items and ranges of 4 labels, so that a few items need many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_ROWS_OF_A_PAGE", 3)
        patch.setattr(tables, "RANGE_BITS", 2)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
@given(steps=st.lists(STEP, min_size=3, max_size=25))
@settings(
    max_examples=examples(5),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_a_replica_equals_its_primary_after_any_sequence_of_changes(
    encoders: Path, steps: list[tuple[object, ...]]
) -> None:
    """Writes, deletions, encoders, probes, aliases, galleries deleted and made again; restarts and cuts in between."""
    with (
        tempfile.TemporaryDirectory() as folder,
        InProcessPrimary(Path(folder, "primary")) as primary,
        InProcessReplica(Path(folder, "replica"), primary.http) as replica,
    ):
        world = World(Path(folder), primary, replica, encoders)
        world.write("objects", ["item-0", "item-1"], 1, 0)
        for step in steps:
            take(world, step)
        follow(world)


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
def test_an_item_that_is_replaced_is_there_while_its_new_version_is_on_its_way(encoders: Path, tmp_path: Path) -> None:
    """Wherever the copy is interrupted, also after a restart, when removed labels are found by a comparison."""
    with (
        InProcessPrimary(tmp_path / "primary") as primary,
        InProcessReplica(tmp_path / "replica", primary.http) as replica,
    ):
        world = World(tmp_path, primary, replica, encoders)
        ids = [f"item-{number}" for number in range(8)]
        world.write("objects", ids, 0, None)
        follow(world)
        for passed in range(2, 9):
            world.write("objects", ids, passed, None)
            world.write("objects", ids[::-1], passed + 100, None)
            replica.restart()
            world.follow_cut([*[None] * passed, 0.0])
        follow(world)


@pytest.mark.slow
def test_what_was_removed_before_the_primary_forgot_it_is_removed(encoders: Path, tmp_path: Path) -> None:
    with (
        InProcessPrimary(tmp_path / "primary") as primary,
        InProcessReplica(tmp_path / "replica", primary.http) as replica,
    ):
        world = World(tmp_path, primary, replica, encoders)
        world.write("objects", [f"item-{number}" for number in range(8)], 0, 1)
        follow(world)
        world.delete("objects", ["item-3", "item-5"])
        world.sleep("objects")
        world.delete("objects", ["item-6"])
        follow(world)
        assert len(world.ids()) == 5


def test_a_gallery_in_milvus_is_named_and_not_copied_without_its_items(
    encoders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        InProcessPrimary(tmp_path / "primary") as primary,
        InProcessReplica(tmp_path / "replica", primary.http) as replica,
    ):
        world = World(tmp_path, primary, replica, encoders)
        world.write("objects", ["item-1"], 0, None)
        world.write("other", ["item-2"], 0, None)
        place = ("INSERT INTO facts VALUES (?, ?)", (MILVUS_PLACE, "milvus://elsewhere:19530/default"))
        with closing(sqlite3.connect(primary.galleries.folder("other") / "gallery.db")) as database, database:
            database.execute(*place)
        world.change_alias("shop", "other")
        replica.follow()
        assert replica.galleries.names() == ["objects"] and not replica.galleries.aliases()
        assert "items are in Milvus: other" in caplog.text


@pytest.mark.slow
def test_what_is_removed_while_an_interrupted_copy_is_compared_is_removed(encoders: Path, tmp_path: Path) -> None:
    """The primary forgets its removals after it told its state, and an item goes between a page and the comparison."""
    with (
        InProcessPrimary(tmp_path / "primary") as primary,
        InProcessReplica(tmp_path / "replica", primary.http) as replica,
    ):
        world = World(tmp_path, primary, replica, encoders)
        world.write("objects", [f"item-{number}" for number in range(8)], 0, 1)
        asked: list[str] = []
        answer = replica.transport.handle_request

        def handle_request(request: httpx.Request) -> httpx.Response:
            kind = request.url.path.rpartition("/")[2]
            if kind == "changes" and kind not in asked:
                world.delete("objects", ["item-3"])
                world.sleep("objects")
            if kind == "summary" and kind not in asked:
                world.delete("objects", ["item-5"])
            asked.append(kind)
            return answer(request)

        replica.transport.handle_request = handle_request  # type: ignore[method-assign]
        follow(world)
        assert "summary" in asked
        assert {each for _, each in world.ids()} == {f"item-{number}" for number in (0, 1, 2, 4, 6, 7)}


@pytest.mark.slow
def test_a_copy_that_is_damaged_stops_no_other_gallery(encoders: Path, tmp_path: Path) -> None:
    with (
        InProcessPrimary(tmp_path / "primary") as primary,
        InProcessReplica(tmp_path / "replica", primary.http) as replica,
    ):
        world = World(tmp_path, primary, replica, encoders)
        for name in ("objects", "other"):
            world.write(name, [f"item-{number}" for number in range(8)], 0, None)
        follow(world)
        replica.galleries.get("objects").sleep()
        database = replica.data / "galleries" / "objects" / "gallery.db"
        database.write_bytes(b"\xff" * database.stat().st_size)
        for name in ("objects", "other"):
            world.write(name, ["item-9"], 1, None)
        assert not replica.follower.follow_once(0)
        troubles = replica.follower.progress.troubles
        assert set(troubles) == {"objects"} and "damaged" in troubles["objects"]
        with sqlite3.connect(replica.data / "galleries" / "other" / "gallery.db") as copied:
            assert copied.execute("SELECT count(*) FROM items WHERE id = 'item-9'").fetchone() == (1,)
