"""What a command writes never takes the place of what it reads, and is looked at before its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from askew_client.cli.main import EXIT_FAILED
from askew_training.networks.checkpoint import save_checkpoint
from tests.support.command_line import call_askew
from tests.support.quantised_networks import float_network
from tests.support.training_helpers import MANIFEST_HEADER, checkpoint_of, tiny_network
from tests.training.photo_files import save_photo

PHOTOS = ("--photos", "walls", "--licences", "licences.toml", "--cache", "cache")
COMMANDS = {
    "whiten": ("whiten", "OUT", "--start", "one.pt", "--dim", "2", *PHOTOS),
    "whiten-given": ("whiten", "OUT", "--start", "one.pt", "--method", "given", "--dim", "2"),
    "distil": ("distil", "one.pt", "OUT", "--learn-size", "96", *PHOTOS),
    "mix": ("mix", "one.pt", "OUT", "--start", "two.pt"),
    "export": ("export", "one.pt", "OUT", "--role", "teacher", "--name", "a", "--version", "1", "--licence", "CC0"),
    "quantise": ("quantise", "bytes.pt", "OUT", *PHOTOS[:4]),
    "evaluate": (
        "evaluate",
        *(PAIR := ("--queries", "one.onnx", "--gallery", "one.onnx", "--manifest", "list.csv")),
        "--json",
        "OUT",
    ),
    "search-time": ("search-time", *PAIR, "--json", "OUT"),
    "compare": ("compare", *PAIR, "--json", "OUT"),
    "compare-report": ("compare", *PAIR, "--report", "OUT"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the commands read, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, network in (("one", tiny_network(dim=4)), ("two", tiny_network(dim=4)), ("bytes", float_network())):
        save_checkpoint(tmp_path / f"{name}.pt", checkpoint_of(network))
    (tmp_path / "one.onnx").write_bytes(b"an encoder file, which nobody gets to read")
    for seed in range(3):
        save_photo(tmp_path / "walls" / f"{seed}.png", seed)
    (tmp_path / "licences.toml").write_text('[licences]\nwalls = "CC0"\n')
    (tmp_path / "list.csv").write_text(MANIFEST_HEADER + "walls/0.png,a,query,b,s\nwalls/1.png,a,gallery,b,s\n")
    return tmp_path


def run_with(name: str, output: Path | str) -> tuple[int, str]:
    ended = call_askew(*(str(output) if part == "OUT" else part for part in COMMANDS[name]))
    return ended.returncode, " ".join(ended.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_is_an_input_is_refused_and_stays_as_it_is(folder: Path, name: str) -> None:
    read = {part for part in COMMANDS[name] if (folder / part).is_file()}
    assert read
    (folder / "link").symlink_to(folder / sorted(read)[0])
    before = {each: (folder / each).read_bytes() for each in read}
    outputs: tuple[Path | str, ...] = (*read, "link", folder / sorted(read)[0])
    for output in outputs:
        code, text = run_with(name, output)
        assert code == 2 and "is a file to read: name another one" in text, output
    assert {each: (folder / each).read_bytes() for each in read} == before


@pytest.mark.parametrize("name", ["whiten", "distil", "quantise", "evaluate", "search-time"])
def test_an_output_that_is_a_photo_to_read_is_refused_and_stays_as_it_is(folder: Path, name: str) -> None:
    photo = folder / "walls" / "0.png"
    before = photo.read_bytes()
    code, text = run_with(name, photo)
    assert code == 2 and "is a file to read: name another one" in text
    assert photo.read_bytes() == before


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_cannot_become_a_file_is_refused_before_the_work(folder: Path, name: str) -> None:
    # No photo can be described: whoever tries is late.
    for photo in (folder / "walls").iterdir():
        photo.write_bytes(b"no photo")
    for output in (folder, folder / "list.csv" / "out"):
        code, text = run_with(name, output)
        assert code == EXIT_FAILED and "folder" in text and ".part" not in text, output
    assert not [each for each in folder.iterdir() if each.name.endswith(".part")]
