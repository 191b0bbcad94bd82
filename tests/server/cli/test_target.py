"""Commands act on a running server or on a DATA directory, with the same result."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from askew_server.gallery.catalog import Catalog
from tests.support.command_line import call_askew
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.slow

LISTS = ("gallery list", "alias list", "encoder list", "probes list", "key list", "snapshot list")


@pytest.fixture(scope="module")
def outputs(
    indexed: Path,
    teacher_file: Path,
    photos: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, tuple[int, str]]]:
    """Exit code and stdout of the same commands, by command: in a DATA directory, then on a server that owns it."""
    folder = tmp_path_factory.mktemp("target")
    data, probes, fetched = folder / "data", folder / "probes", folder / "fetched.onnx"
    shutil.copytree(indexed / "data", data)
    probes.mkdir()
    for photo in photos[:2]:
        shutil.copy(photo, probes)
    first, second = photos[0].name, photos[1].name

    def run_all(*target: str | Path) -> dict[str, tuple[int, str]]:
        found: dict[str, tuple[int, str]] = {}
        for command in (
            "gallery list --json",
            "gallery list",
            "gallery describe objects",
            "gallery describe nothing",
            f"gallery create another --encoder {teacher_file}",
            "gallery create No_Name --encoder nothing.onnx",
            "alias set live another",
            "alias list --json",
            "alias list",
            "gallery delete another --yes",
            "alias set live objects",
            "items count --gallery live",
            "gallery delete another --yes",
            "alias delete live",
            "alias delete live",
            "encoder list",
            f"encoder fetch teacher@1 --output {fetched}",
            "encoder fetch nothing@1 --output nothing.onnx",
            "encoder best --gallery objects --runtime web",
            "encoder best --gallery objects --runtime toaster",
            f"probes add {probes} --encoder {teacher_file} --gallery objects",
            f"probes add {probes} --encoder {teacher_file} --gallery objects",
            "probes list --gallery objects",
            f"probes remove {first} --gallery objects --yes",
            f"probes remove {first} --gallery objects --yes",
            "probes list --gallery objects --json",
            "items count --gallery objects",
            'items count --gallery objects --json --filter {"not":{"field":"none","eq":1}}',
            'items count --gallery objects --filter {"field":"kind","eq":1}',
            'items delete --gallery objects --yes --filter {"field":"kind","eq":"landmark"}',
            "items delete nothing --gallery objects --yes --json",
            "items delete --gallery objects --yes",
            "items count --gallery objects",
            "snapshot list --gallery objects",
            "snapshot delete 20260101T000000Z --gallery objects --yes",
            "key list",
            "key revoke nobody --yes",
        ):
            done = call_askew(*command.split(), *target)
            found[f"{len(found)}: {command}"] = (done.returncode, re.sub(r'_at": "[^"]+"', '_at": ""', done.stdout))
        assert fetched.read_bytes() == teacher_file.read_bytes()
        fetched.unlink()
        call_askew("probes", "remove", second, "--gallery", "objects", "--yes", *target)
        return found

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASKEW_DEFAULT_GALLERY", "objects")
        here = run_all("--data", data)
        with RunningServer(data) as server:
            there = run_all("--server", server.url)
    return {"here": here, "there": there}


def test_the_result_is_the_same_on_a_server_and_in_a_data_directory(
    outputs: dict[str, dict[str, tuple[int, str]]],
) -> None:
    assert outputs["here"] == outputs["there"]


def test_the_commands_say_what_they_did(outputs: dict[str, dict[str, tuple[int, str]]]) -> None:
    found = {command.partition(": ")[2]: output for command, output in outputs["here"].items()}
    listed = json.loads(found["gallery list --json"][1])
    assert listed["default_gallery"] == "objects"
    assert [each["name"] for each in listed["galleries"]] == ["objects"]
    assert found["gallery list"] == (0, "objects  (49 items, 49 photos, teacher teacher@1)\n")
    assert "name: objects\n" in found["gallery describe objects"][1]
    assert found["alias set live objects"] == (0, "Alias 'live' names gallery 'objects'; before: 'another'.\n")
    assert json.loads(found["alias list --json"][1]) == {"aliases": {"live": "another"}}
    # The second of two: the first was refused, as an alias named the gallery.
    assert found["gallery delete another --yes"] == (0, "Gallery 'another' is deleted.\n")
    added = next(text for command, (_, text) in found.items() if command.startswith("probes add"))
    assert added.startswith("Gallery 'objects': 0 files taken, 2 known already; 2 probes in all")
    assert len(found["probes list --gallery objects"][1].split()) == 2
    assert len(json.loads(found["probes list --gallery objects --json"][1])["probes"]) == 1
    assert found["items count --gallery live"] == (0, "49\n")
    missing = found.pop("items delete nothing --gallery objects --yes --json")
    assert (missing[0], json.loads(missing[1])["unmatched"]["count"]) == (3, 1)
    refused = {command: code for command, (code, _) in found.items() if code != 0}
    assert set(refused) == {
        "gallery describe nothing",
        "gallery create No_Name --encoder nothing.onnx",
        "alias delete live",
        "encoder fetch nothing@1 --output nothing.onnx",
        "encoder best --gallery objects --runtime web",
        "encoder best --gallery objects --runtime toaster",
        *(command for command in found if command.startswith("probes remove")),
        "snapshot delete 20260101T000000Z --gallery objects --yes",
        "key revoke nobody --yes",
        'items count --gallery objects --filter {"field":"kind","eq":1}',
        "items delete --gallery objects --yes",
    }
    assert set(refused.values()) == {1}


@pytest.mark.parametrize("command", LISTS)
def test_a_command_without_a_target_says_how_to_name_one(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASKEW_DATA", raising=False)
    monkeypatch.delenv("ASKEW_SERVER", raising=False)
    done = call_askew(*command.split())
    assert done.returncode == 1
    assert "Expected --data DIR (a DATA directory that no server is using) or --server URL, got neither" in done.stderr


def test_the_environment_names_a_target_and_an_option_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Catalog(tmp_path / "a", owner="a test")), closing(Catalog(tmp_path / "b", owner="a test")):
        monkeypatch.setenv("ASKEW_DATA", str(tmp_path / "a"))
        assert f"{tmp_path / 'a'} is in use" in call_askew("gallery", "list").stderr
        assert f"{tmp_path / 'b'} is in use" in call_askew("gallery", "list", "--data", tmp_path / "b").stderr
        assert f"{tmp_path / 'a'} is in use" in call_askew("doctor").stderr
        # A server that runs uses that DATA, so it is the one that is meant.
        monkeypatch.setenv("ASKEW_SERVER", "http://127.0.0.1:9")
        assert "No server answers at http://127.0.0.1:9" in call_askew("key", "list").stderr
        assert f"{tmp_path / 'b'} is in use" in call_askew("key", "list", "--data", tmp_path / "b").stderr
        assert (
            "No server answers at http://127.0.0.1:8"
            in call_askew("key", "list", "--server", "http://127.0.0.1:8").stderr
        )


@pytest.mark.parametrize(
    "command",
    [
        *LISTS,
        "gallery delete x --yes",
        "items count",
        "items delete a --yes",
        "encoder best",
        "alias delete x",
        "admit x.onnx",
        "doctor",
    ],
)
def test_a_mistyped_data_directory_is_not_made(command: str, tmp_path: Path) -> None:
    done = call_askew(*command.split(), "--data", tmp_path / "mistyped")
    assert done.returncode == 1
    assert str(tmp_path / "mistyped") in done.stderr
    assert not (tmp_path / "mistyped").exists()


def test_two_targets_are_refused(tmp_path: Path) -> None:
    done = call_askew("gallery", "list", "--data", tmp_path, "--server", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert f"Expected --data or --server, got both ({tmp_path} and http://127.0.0.1:9)" in done.stderr


@pytest.mark.parametrize("command", LISTS)
def test_a_data_directory_that_another_process_uses_is_left_alone(command: str, tmp_path: Path) -> None:
    with closing(Catalog(tmp_path, owner="a test")):
        done = call_askew(*command.split(), "--data", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} is in use by a test" in done.stderr


def test_a_server_that_does_not_answer_is_named() -> None:
    done = call_askew("gallery", "list", "--server", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "No server answers at http://127.0.0.1:9" in done.stderr


def test_a_name_that_no_gallery_can_have_is_refused_with_the_rule(tmp_path: Path) -> None:
    for command in ("gallery create", "alias set"):
        done = call_askew(
            *command.split(), "No Name", *(["x"] if "alias" in command else ["--encoder", "x"]), "--data", tmp_path
        )
        assert done.returncode == 1
        assert "Expected a gallery name of 1 to 63 lower-case letters" in done.stderr and "got 'No Name'" in done.stderr


def test_a_folder_with_a_name_that_no_gallery_can_have_can_be_deleted(tmp_path: Path) -> None:
    strange = tmp_path / "galleries" / "Old Gallery"
    strange.mkdir(parents=True)
    (strange / "notes.txt").write_text("notes")
    assert "'Old Gallery' is damaged" in call_askew("gallery", "list", "--data", tmp_path).stderr
    assert call_askew("gallery", "delete", "Old Gallery", "--data", tmp_path, "--yes").returncode == 0
    assert not strange.exists()
