"""How `askew index` ends: what it took, skipped, replaced and did not match, in DATA and with a server alike."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from askew_client.encoding.encoder import Encoder
from askew_server.gallery.catalog import Catalog
from askew_server.ingest.index_photos import IndexReport, LocalGallery, index_photos
from askew_server.ingest.photo_folder import find_photos
from askew_server.storage.items import StoredItem
from tests.support.in_process_cli import call_askew
from tests.support.paths import DEMO
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.slow

SMALL = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:8]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photos, and a CSV for them beside their folder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, photo in zip(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "more/e.jpg"], SMALL, strict=False):
        shutil.copy(photo, folder / name)
    return folder


class _Index:
    """`askew index` into one gallery of a DATA directory or a server."""

    def __init__(self, place: list[str | Path], gallery: str, teacher: Path) -> None:
        self._place = place
        self.gallery = gallery
        self._teacher = teacher

    def __call__(self, folder: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
        return call_askew(
            "index", folder, "--encoder", self._teacher, *self._place, "--gallery", self.gallery, *options
        )

    def json(self, folder: Path, *options: str | Path) -> tuple[int, dict[str, int], dict[str, object]]:
        """The exit code, the counts of files without zeros, and the whole report."""
        done = self(folder, *options, "--json")
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        kinds = {kind: report[kind]["count"] for kind in ("left_out", "skipped", "unmatched")}
        counts = {"taken": report["taken"], "known": report["known"], **kinds}
        return done.returncode, {kind: count for kind, count in counts.items() if count}, report

    def ids(self, tmp_path: Path) -> set[str]:
        """The ids of the gallery's items."""
        from pyarrow import parquet

        path = tmp_path / "ids.parquet"
        done = call_askew("items", "export", path, *self._place, "--gallery", self.gallery, "--without-vectors")
        assert done.returncode == 0, done.stderr
        return set(parquet.read_table(path)["id"].to_pylist())


@pytest.fixture(params=["data", "server"])
def index(request: pytest.FixtureRequest, tmp_path: Path, teacher_file: Path, server: RunningServer) -> _Index:
    place: list[str | Path] = ["--data", tmp_path / "data"] if request.param == "data" else ["--server", server.url]
    name = "g-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    return _Index(place, name, teacher_file)


def _reasons(report: dict[str, object], kind: str) -> dict[str, list[str]]:
    part = report[kind]
    assert isinstance(part, dict)
    return {reason: list(each["first"]) for reason, each in part["reasons"].items()}


def test_every_oddity_of_a_folder_is_named_and_the_rest_is_taken(index: _Index, folder: Path) -> None:
    good = (folder / "a.jpg").read_bytes()
    for name in ("@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.jpg", "._a.jpg", "Thumbs.db", "x.gif", "plain"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(good)
    (folder / "f.jfif").write_bytes(good)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "broken.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcnchen.jpg")).write_bytes(good)
    (folder / "r\x1b[31med.jpg").write_bytes(good)
    code, counts, report = index.json(folder)
    assert (code, counts) == (3, {"taken": 7, "left_out": 5, "skipped": 6})
    assert _reasons(report, "skipped") == {
        "a broken link": ["broken.jpg"],
        "neither a file nor a folder (a pipe, socket or device)": ["pipe.jpg"],
        "the name is not UTF-8": ["M\\udcfcnchen.jpg"],
        "the path is no id that an item can have": ["r\x1b[31med.jpg"],
        "cannot be read as a photo": ["cut.jpg", "empty.jpg"],
    }
    assert report["other_kinds"] == {".gif": 1}
    shown = index(folder)
    assert shown.returncode == 3
    assert shown.stdout == f"Gallery {index.gallery!r}: 0 files taken, 7 known already, 5 left out, 6 skipped.\n"
    for name in ("broken.jpg", "pipe.jpg", "M\\udcfcnchen.jpg", "cut.jpg", "empty.jpg", "#recycle", "x.gif"):
        assert name in shown.stderr
    assert "\x1b[31med" not in shown.stderr


def test_lines_columns_and_types_are_counted(index: _Index, folder: Path) -> None:
    known = folder.parent / "known.csv"
    known.write_bytes(
        b"file,id,year,tags,\nphotos/a.jpg,one,2021,sea;sun,\nphotos\\b.jpg,two,old,,odd\nphotos/x.jpg,x,1,,\n"
        b"photos/c.jpg,three\nphotos/d.jpg,M\xfc,1,,\nphotos/a.jpg,one,2022,sea,\n"
    )
    code, counts, report = index.json(folder, "--payloads", known, "--payload-types", "year:int,tags:list")
    assert (code, counts) == (3, {"taken": 3, "skipped": 2, "unmatched": 1})
    lines, fields = report["lines"], report["fields"]
    assert isinstance(lines, dict)
    assert isinstance(fields, dict)
    assert (lines["taken"], lines["skipped"]["count"], lines["unmatched"]["count"], lines["replaced"]["count"]) == (
        2, 2, 1, 1,
    )  # fmt: skip
    assert _reasons(fields, "skipped") == {
        "values that are no int": ["line 3, year"],
        "columns without a name in UTF-8": ["column 5"],
    }
    assert report["payload_types"] == {"year": "int", "tags": "list"}
    shown = index(folder, "--payloads", known, "--payload-types", "auto")
    assert f"{known}: 2 lines taken, 1 replaced, 2 skipped, 1 unmatched. Types: year:text,tags:text\n" in shown.stdout
    for said in ("line 4: photos/x.jpg", "Line 5 of", "Line 6 of", "more/e.jpg"):
        assert said in shown.stderr


def test_numbers_of_a_csv_can_be_filtered(tmp_path: Path, folder: Path, teacher_file: Path) -> None:
    known = folder.parent / "known.csv"
    known.write_text("file,year\n" + "".join(f"photos/{name}.jpg,{2019 + at}\n" for at, name in enumerate("abcd")))
    index = _Index(["--data", tmp_path / "data"], "typed", teacher_file)
    assert index(folder, "--payloads", known, "--payload-types", "auto").returncode == 3
    path = tmp_path / "out.parquet"
    condition = '{"field": "year", "range": {"gte": 2021}}'
    place: list[str | Path] = ["--data", tmp_path / "data", "--gallery", "typed"]
    done = call_askew("items", "export", path, *place, "--filter", condition, "--json")
    assert json.loads(done.stdout) == {"written": 2}, done.stderr


def test_ids_that_are_corrected_afterwards_are_not_duplicated_in_silence(
    index: _Index, folder: Path, tmp_path: Path
) -> None:
    assert index.json(folder)[:2] == (0, {"taken": 5})
    known = folder.parent / "known.csv"
    known.write_text(
        "file,id\n"
        + "".join(f"photos/{name},id-{name[-5]}\n" for name in ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "more/e.jpg"])
    )
    shown = index(folder, "--payloads", known)
    assert shown.returncode == 0
    assert "5 items, with a photo that is stored under another id, too; use --prune to remove these" in shown.stderr
    assert "a.jpg" in shown.stderr
    # It is said again as long as it is so.
    _, counts, report = index.json(folder, "--payloads", known)
    items = report["items"]
    assert isinstance(items, dict)
    assert (counts, items["left_out"]["count"]) == ({"known": 5}, 5)
    assert len(index.ids(tmp_path)) == 10
    pruned = index(folder, "--payloads", known, "--prune", "--yes")
    assert pruned.returncode == 0, pruned.stderr
    assert "5 of 10 items" in pruned.stderr
    assert pruned.stdout.endswith(f"Gallery {index.gallery!r}: 0 files taken, 5 known already, 5 items removed.\n")
    assert index.ids(tmp_path) == {f"id-{name}" for name in "abcde"}


def test_items_whose_photo_is_gone_are_named_and_removed_only_if_asked(
    index: _Index, folder: Path, tmp_path: Path
) -> None:
    index(folder)
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").rename(folder / "renamed.jpg")
    shown = index(folder)
    assert shown.returncode == 0
    assert (
        "1 item, without a file here; where this folder alone fills the gallery, --prune removes them" in shown.stderr
    )
    assert "1 item, with a photo that is stored under another id, too" in shown.stderr
    assert len(index.ids(tmp_path)) == 6
    unsure = index(folder, "--prune")
    assert unsure.returncode == 3
    assert "nothing is removed: There is no terminal to ask on. Give --yes" in unsure.stderr
    assert len(index.ids(tmp_path)) == 6
    _, _, report = index.json(folder, "--prune", "--yes")
    items = report["items"]
    assert isinstance(items, dict)
    assert items["removed"] == 2
    assert index.ids(tmp_path) == {"c.jpg", "d.jpg", "more/e.jpg", "renamed.jpg"}


def test_nothing_is_removed_where_the_folder_may_be_incomplete_or_the_wrong_one(
    index: _Index, folder: Path, tmp_path: Path
) -> None:
    index(folder)
    before = index.ids(tmp_path)
    (folder / "a.jpg").unlink()
    (folder / "unmounted.jpg").symlink_to("/nowhere/at/all.jpg")
    partly = index(folder, "--prune", "--yes")
    assert (partly.returncode, "could not be looked at" in partly.stderr) == (3, True)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(SMALL[7], other / "other.jpg")
    wrong = index(other, "--prune", "--yes")
    assert (wrong.returncode, "more than half" in wrong.stderr) == (3, True)
    (other / "other.jpg").unlink()
    assert index(other, "--prune", "--yes").returncode == 1
    assert index.ids(tmp_path) == {*before, "other.jpg"}


def test_payloads_are_not_removed_with_items_whose_lines_are_missing(
    folder: Path, teacher_file: Path, tmp_path: Path
) -> None:
    index = _Index(["--data", tmp_path / "data"], "lines", teacher_file)
    known = folder.parent / "known.csv"
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "more/e.jpg"]
    known.write_text("file,id,title\n" + "".join(f"photos/{name},id-{name[-5]},A title\n" for name in names))
    assert index(folder, "--payloads", known).returncode == 0
    before = index.ids(tmp_path)
    forgotten = index(folder, "--prune", "--yes")
    assert (forgotten.returncode, "Is --payloads missing?" in forgotten.stderr) == (3, True)
    known.write_text(known.read_text().rpartition("photos/d.jpg")[0])
    cut = index(folder, "--payloads", known, "--prune", "--yes")
    assert (cut.returncode, "No line is for some photos" in cut.stderr) == (3, True)
    assert before <= index.ids(tmp_path)


def test_a_photo_that_cannot_be_described_any_more_is_not_gone(index: _Index, folder: Path, tmp_path: Path) -> None:
    index(folder)
    (folder / "a.jpg").write_bytes(b"damaged")
    assert index(folder, "--prune", "--yes").returncode == 3
    assert "a.jpg" in index.ids(tmp_path)


def test_items_without_a_photo_are_never_removed(
    tmp_path: Path, folder: Path, teacher_file: Path, server: RunningServer
) -> None:
    index = _Index(["--server", server.url], "with-vectors", teacher_file)
    index(folder)
    vector = [1.0] + [0.0] * 63
    space = server.http.get("/v1/galleries/with-vectors").json()["space"]
    stored = server.http.put(
        "/v1/galleries/with-vectors/items", json={"space": space, "items": [{"id": "only", "vector": vector}] * 2}
    )
    # The same id twice in one request is one item.
    assert stored.json()["upserted"] == 1
    (folder / "a.jpg").unlink()
    index(folder, "--prune", "--yes")
    assert index.ids(tmp_path) == {"b.jpg", "c.jpg", "d.jpg", "more/e.jpg", "only"}


def test_a_photo_that_the_server_refuses_is_named_and_the_rest_goes_on(
    folder: Path, teacher_file: Path, server: RunningServer, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3450, 3450, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "b_big.png", compress_level=0)
    assert (folder / "b_big.png").stat().st_size > 32_000_000
    known = folder.parent / "known.csv"
    known.write_text(
        f"file,text\nphotos/c.jpg,{'x' * 100_000}\n"
        + "".join(f"photos/{name},\n" for name in ["a.jpg", "b.jpg", "d.jpg", "more/e.jpg", "b_big.png"])
    )
    index = _Index(["--server", server.url], "large", teacher_file)
    code, counts, report = index.json(folder, "--payloads", known)
    assert (code, counts) == (3, {"taken": 5, "skipped": 1})
    assert _reasons(report, "skipped") == {"refused by the server": ["b_big.png"]}
    assert index.json(folder, "--payloads", known)[1] == {"known": 5, "skipped": 1}
    assert index.ids(tmp_path) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg", "more/e.jpg"}


class _Proxy(http.server.ThreadingHTTPServer):
    """Passes requests to a server, except for photos of which `refuse` says how."""

    def __init__(self, target: RunningServer, refuse: dict[str, int]) -> None:
        self.target = target
        self.refuse = refuse
        super().__init__(("127.0.0.1", 0), _ProxyHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Nothing: a command that ends leaves requests behind."""


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        assert isinstance(self.server, _Proxy)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = next((code for name, code in self.server.refuse.items() if name in self.path), 200)
        if status == 0:
            self.close_connection = True
            return
        if status != 200:
            self._answer(status, b"<html>no</html>", "text/html")
            return
        headers = {name: each for name in ("Content-Type", "Accept") if (each := self.headers.get(name))}
        answer = self.server.target.http.request(self.command, self.path, content=body, headers=headers)
        self._answer(answer.status_code, answer.content, answer.headers["content-type"])

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = _pass  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def proxy(server: RunningServer) -> Iterator[_Proxy]:
    with _Proxy(server, {}) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 500, 0])
def test_only_the_photo_is_skipped_that_is_refused(
    folder: Path, teacher_file: Path, proxy: _Proxy, status: int
) -> None:
    proxy.refuse["b.jpg"] = status
    index = _Index(["--server", proxy.url], f"refused-{status}", teacher_file)
    code, counts, report = index.json(folder)
    assert (code, counts) == (3, {"taken": 4, "skipped": 1})
    assert _reasons(report, "skipped") == {"refused by the server": ["b.jpg"]}


def test_nothing_is_removed_where_its_renamed_photo_was_refused(
    folder: Path, teacher_file: Path, proxy: _Proxy, tmp_path: Path
) -> None:
    index = _Index(["--server", proxy.url], "renamed", teacher_file)
    index(folder)
    before = index.ids(tmp_path)
    (folder / "a.jpg").rename(folder / "new.jpg")
    proxy.refuse["new.jpg"] = 413
    done = index(folder, "--prune", "--yes")
    assert (done.returncode, "may be the renamed photo" in done.stderr) == (3, True)
    assert "with a photo that is stored under another id" not in done.stderr
    assert index.ids(tmp_path) == before


class _Interrupted(LocalGallery):
    """A gallery whose writer is stopped by Ctrl-C in the middle of its first batch."""

    stops = True

    def write(self, items: list[StoredItem]) -> Iterator[tuple[str, str]]:
        written = super().write(items)
        yield next(written)
        if self.stops:
            self.stops = False
            raise KeyboardInterrupt
        yield from written


def test_no_photo_is_counted_twice_when_the_command_is_stopped(folder: Path, teacher: Encoder, tmp_path: Path) -> None:
    galleries = Catalog(tmp_path / "data", owner="a test")
    gallery, _ = galleries.get_or_create("default", teacher.manifest)
    found = find_photos(folder, None)
    report = IndexReport(found.files)
    many = [replace(found.photos[at % 5], id=f"{at}") for at in range(20)]
    with pytest.raises(KeyboardInterrupt):
        index_photos(many, teacher, _Interrupted(gallery), report, lambda: None)
    assert report.files.taken == gallery.run(lambda each: each.describe()).items == 16
    galleries.close()


@pytest.mark.parametrize("status", [401, 403, 503, 507])
def test_what_would_stop_all_photos_ends_the_command_and_says_what_was_done(
    folder: Path, teacher_file: Path, proxy: _Proxy, status: int
) -> None:
    proxy.refuse["c.jpg"] = status
    index = _Index(["--server", proxy.url], f"stopped-{status}", teacher_file)
    done = index(folder)
    assert done.returncode == 1
    assert f"askew: so far, gallery {index.gallery!r}: 2 files taken." in done.stderr
    assert "Traceback" not in done.stderr
    proxy.refuse.clear()
    assert index.json(folder)[:2] == (0, {"taken": 3, "known": 2})


def test_a_server_that_fails_for_every_photo_ends_the_command(folder: Path, teacher_file: Path, proxy: _Proxy) -> None:
    proxy.refuse["/items/"] = 500
    assert _Index(["--server", proxy.url], "failing", teacher_file)(folder).returncode == 1


def test_probes_end_like_photos(folder: Path, teacher_file: Path, data: Path) -> None:
    (folder / "b.jpg").write_bytes(b"damaged")
    (folder / "x.gif").write_bytes(b"")
    command: list[str | Path] = [
        "probes",
        "add",
        folder,
        "--encoder",
        teacher_file,
        "--data",
        data,
        "--gallery",
        "objects",
    ]
    done = call_askew(*command, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["taken"], report["skipped"]["count"], report["left_out"]["count"]) == (3, 4, 1, 1)
    assert call_askew(*command).stdout.startswith(
        "Gallery 'objects': 0 files taken, 4 known already, 1 left out, 1 skipped; 4 probes in all"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_was_described_and_says_how_much(
    tmp_path: Path, teacher_file: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(SMALL[0]) as image:
        small = image.convert("RGB").resize((64, 64))
    for place in range(400):
        small.putpixel((0, 0), (place % 256, place // 256, 0))
        small.save(folder / f"{place:03}.png")
    data = tmp_path / "data"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "askew_client.main",
        "index",
        folder,
        "--encoder",
        teacher_file,
        "--data",
        data,
    ]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stored = data / "galleries" / "default" / "photos"
    end = time.monotonic() + 120
    while not (stored.exists() and any(each.is_file() for each in stored.rglob("*"))):
        assert run.poll() is None and time.monotonic() < end, run.communicate()
        time.sleep(0.01)
    run.send_signal(number)
    errors = run.communicate(timeout=120)[1]
    assert run.returncode == 130, errors
    assert "askew: so far, gallery 'default': " in errors and errors.splitlines()[-1] == "askew: stopped"
    told = int(re.search(r"so far, gallery 'default': ([\d,]+) files taken", errors).group(1).replace(",", ""))  # type: ignore[union-attr]
    counted = call_askew("items", "count", "--data", data, "--json")
    assert json.loads(counted.stdout)["count"] == told, (counted.stdout, errors)
