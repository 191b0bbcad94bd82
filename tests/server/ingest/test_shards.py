"""Shards: which files are in which, and what `askew index --shard` leaves behind however it ends."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from filelock import FileLock
from PIL import Image

from askew_client.encoding.encoder import Encoder
from askew_client.errors import AskewError
from askew_server.ingest import index_shard as module
from askew_server.ingest.index_shard import ShardWork, index_shard
from askew_server.ingest.photo_folder import find_photos
from askew_server.ingest.shards import Shard
from tests.support.in_process_cli import call_askew
from tests.support.paths import DEMO
from tests.support.small_encoders import make_encoder
from tests.support.waiting import wait_until

SMALL = sorted((DEMO / "gallery").glob("*.jpg"), key=lambda path: path.stat().st_size)[:9]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine photos, two of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, photo in enumerate(SMALL):
        shutil.copy(photo, folder / ("more" if number > 6 else "") / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("total", [1, 2, 7])
def test_every_name_is_in_exactly_one_shard_and_shards_are_about_equal(total: int) -> None:
    names = [f"2021/{number}.jpg" for number in range(2_000)]
    shards = [Shard(number, total) for number in range(1, total + 1)]
    owned = [[name for name in names if shard.owns(name)] for shard in shards]
    assert sorted(name for part in owned for name in part) == sorted(names)
    assert min(map(len, owned)) > 0.7 * len(names) / total


def test_a_name_keeps_its_shard_for_ever() -> None:
    # The files that other machines and versions have written depend on it.
    assert [Shard(number, 8).owns("2021/a.jpg") for number in range(1, 9)].index(True) == 4
    assert [Shard(number, 8).owns("caf\u00e9.jpg") for number in range(1, 9)] == [
        Shard(number, 8).owns("cafe\u0301.jpg") for number in range(1, 9)
    ]


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/8/1", "a/b", "1/0", "-1/8", "1/1000000", ""])
def test_what_is_no_shard_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AskewError, match="Expected a shard such as 3/8"):
        Shard.parse(text)


def test_all_files_and_lines_of_a_folder_are_in_one_count_of_one_shard(folder: Path, tmp_path: Path) -> None:
    for name in ("note.txt", "clip.mov", "@eaDir/t.jpg", ".hidden/x.jpg", ".hidden.jpg", "Thumbs.db", "w.gif"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "elsewhere.jpg").touch()
    csv = tmp_path / "known.csv"
    lines = ["photos/0.jpg,a", "photos/more/7.jpg,b", "photos/1.jpg,c", "photos/absent.jpg,d", "photos/note.txt,e"]
    lines += ["photos\\more\\8.jpg,g", " photos/2.jpg ,h", "gone/x.jpg,i"]
    csv.write_text("\n".join(["file,kind", *lines, "elsewhere.jpg,f"]))

    def counts(shard: Shard) -> list[int]:
        found = find_photos(folder, csv, (), shard)
        assert found.lines is not None
        lines = found.lines.lines
        files = [found.files.count(kind) for kind in ("left out", "skipped", "unmatched")]
        return [len(found.photos), *files, lines.taken, lines.count("unmatched"), len(found.walk.other_kinds)]

    whole = counts(Shard(1, 1))
    assert whole[:6] == [9, 7, 1, 4, 5, 3]
    parts = [counts(Shard(number, 3)) for number in (1, 2, 3)]
    assert np.sum(parts, axis=0).tolist()[:6] == whole[:6]
    assert {photo.name: photo.payload for number in (1, 2, 3) for photo in find_photos(folder, csv, (), Shard(number, 3)).photos} == {
        photo.name: photo.payload for photo in find_photos(folder, csv).photos
    }  # fmt: skip


def _work(folder: Path, teacher: Path, output: Path, **options: object) -> ShardWork:
    return ShardWork(folder, teacher, Shard(1, 1), output, **options)  # type: ignore[arg-type]


def _rows(path: Path) -> dict[str, dict[str, object]]:
    return {row["file"]: row for row in parquet.read_table(path).to_pylist()}


@pytest.mark.slow
def test_a_shard_holds_the_vectors_of_its_photos_and_pictures_of_the_teachers_size(
    folder: Path, tmp_path: Path, teacher_file: Path
) -> None:
    (folder / "cut.jpg").write_bytes(SMALL[0].read_bytes()[:500])
    encoder = Encoder(teacher_file)
    found: dict[str, dict[str, object]] = {}
    for number in (1, 2):
        out = tmp_path / f"{number}.parquet"
        done = call_askew("index", folder, "--encoder", teacher_file, "--shard", f"{number}/2", "--out", out, "--json")
        report = json.loads(done.stdout)
        assert done.returncode == (3 if Shard(number, 2).owns("cut.jpg") else 0), done.stderr
        assert report["items"] == report["taken"] == len(_rows(out))
        found |= _rows(out)
        if done.returncode == 3:
            assert list(report["skipped"]["reasons"]["cannot be read as a photo"]["first"]) == ["cut.jpg"]
    assert len(found) == 9
    for name, row in found.items():
        assert np.array(row["vector"], "<f2").tobytes() == encoder.encode(folder / name).astype("<f2").tobytes()
        picture = Image.open(io.BytesIO(row["photo"]))  # type: ignore[arg-type]
        assert max(picture.size) == encoder.manifest.photo_size
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_pictures_are_the_files_themselves_or_none_as_asked(folder: Path, tmp_path: Path, teacher_file: Path) -> None:
    index_shard(_work(folder, teacher_file, tmp_path / "a.parquet", pictures="originals"))
    assert {name: row["photo"] for name, row in _rows(tmp_path / "a.parquet").items()} == {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")
    }
    index_shard(_work(folder, teacher_file, tmp_path / "b.parquet", pictures="none"))
    assert {row["photo"] for row in _rows(tmp_path / "b.parquet").values()} == {None}


@pytest.mark.slow
def test_a_killed_run_continues_with_what_it_had_described(folder: Path, tmp_path: Path, teacher_file: Path) -> None:
    out = tmp_path / "out.parquet"
    program = (
        "import sys, time\nfrom askew_client.main import main\nfrom askew_server.ingest import index_shard as module\n"
        "module.PART_SECONDS = -1\nadd = module.ShardParts.add\n"
        "def slowed(self, rows):\n    add(self, rows)\n    time.sleep(0 if self._next < 4 else 600)\n"
        "module.ShardParts.add = slowed\nmain(sys.argv[1:])\n"
    )
    command = ["index", str(folder), "--encoder", str(teacher_file), "--shard", "1/1", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-c", program, *command], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("out.parquet.parts/*.parquet"))) == 3, "three parts")
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not out.exists()
    done = call_askew(*command, "--json")
    report = json.loads(done.stdout)
    assert (report["known"], report["taken"], report["items"]) == (3, 6, 9)
    assert len(_rows(out)) == 9
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_an_interrupted_run_keeps_everything_it_has_described_and_a_lost_part_is_described_again(
    folder: Path, tmp_path: Path, teacher_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = _work(folder, teacher_file, tmp_path / "out.parquet")

    def stop(done: int, total: int) -> None:
        assert total == 9
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_shard(work, stop)
    (part,) = tmp_path.glob("out.parquet.parts/*.parquet")
    assert len(_rows(part)) == 5
    part.write_bytes(part.read_bytes()[:300])
    assert index_shard(work).files.taken == 9
    assert len(_rows(work.output)) == 9


@pytest.mark.slow
def test_again_only_what_changed_is_described(folder: Path, tmp_path: Path, teacher_file: Path) -> None:
    work = _work(folder, teacher_file, tmp_path / "out.parquet")
    index_shard(work)
    before = work.output.stat().st_ino
    assert index_shard(work).files.known == 9
    assert work.output.stat().st_ino == before
    shutil.copy(SMALL[1], folder / "0.jpg")
    shutil.copy(SMALL[1], folder / "new.jpg")
    (folder / "2.jpg").unlink()
    (folder / "3.jpg").write_bytes(b"no photo any more")
    report = index_shard(work).files
    assert (report.known, report.taken, report.count("skipped")) == (6, 2, 1)
    rows = _rows(work.output)
    assert set(rows) == {"0.jpg", "1.jpg", "new.jpg", "4.jpg", "5.jpg", "6.jpg", "more/7.jpg", "more/8.jpg"}
    assert rows["0.jpg"]["vector"] == rows["1.jpg"]["vector"] == rows["new.jpg"]["vector"]


@pytest.mark.slow
def test_a_file_of_another_shard_or_encoder_and_a_second_process_are_refused_and_nothing_is_changed(
    folder: Path, tmp_path: Path, teacher_file: Path
) -> None:
    work = _work(folder, teacher_file, tmp_path / "out.parquet")
    index_shard(work)
    before = work.output.read_bytes()
    other = make_encoder(tmp_path / "other.onnx", role="teacher", seed=7)
    student = make_encoder(tmp_path / "student.onnx", role="student")
    for changed, said in (
        (_work(folder, other, work.output), "space sp1-"),
        (_work(folder, student, work.output), "described by a teacher"),
        (_work(folder, teacher_file, work.output, pictures="none"), "pictures: copies instead of none"),
        (ShardWork(folder, teacher_file, Shard(1, 2), work.output), "shard 1/1 instead of 1/2"),
        (_work(folder, teacher_file, tmp_path / "absent" / "x.parquet"), "there is no folder"),
    ):
        with pytest.raises(AskewError, match=said):
            index_shard(changed)
    with FileLock(tmp_path / ".out.parquet.lock"), pytest.raises(AskewError, match="Another process is writing"):
        index_shard(work)
    assert work.output.read_bytes() == before
    work.output.write_bytes(before[:-100])
    with pytest.raises(AskewError, match="Delete it"):
        index_shard(work)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == ["out.parquet"]


def test_options_that_mean_a_gallery_are_refused(folder: Path, tmp_path: Path, teacher_file: Path) -> None:
    command = ["index", str(folder), "--encoder", str(teacher_file)]
    for options, said in (
        (["--shard", "1/2"], "Expected both --shard I/N and --out"),
        (["--pictures", "none", "--data", str(tmp_path)], "leave --data out"),
        (["--shard", "1/2", "--out", "x.parquet", "--prune"], "leave --prune out"),
        (["--shard", "3/2", "--out", "x.parquet"], "Expected a shard such as 3/8"),
    ):
        done = call_askew(*command, *options)
        assert done.returncode == 1
        assert said in done.stderr
    assert not (tmp_path / "askew.db").exists()


def test_a_shard_without_photos_is_a_file_of_no_rows(folder: Path, tmp_path: Path, teacher_file: Path) -> None:
    empty = next(
        Shard(number, 50) for number in range(1, 51) if not find_photos(folder, None, (), Shard(number, 50)).photos
    )
    index_shard(ShardWork(folder, teacher_file, empty, tmp_path / "empty.parquet"))
    assert parquet.read_table(tmp_path / "empty.parquet").num_rows == 0


def test_parts_are_written_often() -> None:
    assert module.PART_SECONDS <= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", ["file", "vector", "photo", "file_modified_ns"])
@pytest.mark.parametrize("is_other_type", [False, True])
def test_a_shard_that_another_program_has_rewritten_is_not_taken_for_a_complete_one(
    folder: Path, tmp_path: Path, teacher_file: Path, name: str, is_other_type: bool
) -> None:
    output = tmp_path / "shard.parquet"
    command = ("index", folder, "--encoder", teacher_file, "--shard", "9/9", "--out", output)
    assert call_askew(*command).returncode == 0
    table = parquet.read_table(output)
    position = table.column_names.index(name)
    changed = table.drop_columns([name])
    if is_other_type:
        changed = changed.add_column(position, name, pyarrow.array([True] * len(table)))
    parquet.write_table(changed, output)
    before = output.read_bytes()
    done = call_askew(*command)
    assert done.returncode == 1
    assert f"but {name} differ or are missing" in done.stderr
    assert output.read_bytes() == before
