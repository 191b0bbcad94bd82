"""The `askew` command: its output and its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

import numpy as np
import onnx
import pytest

from askew_client import Encoder
from askew_client.cli.main import main
from askew_client.cli.registry import COMMANDS
from askew_client.contract.manifest import golden_text
from askew_client.contract.problems import ProblemKind
from askew_client.contract.wire import unpack
from tests.support.command_line import call_askew
from tests.support.scripted_server import ScriptedServer
from tests.support.small_encoders import sealed

# Commands as an installed package registers them: one that cannot be imported, and two that fail.
BROKEN = EntryPoint("broken", "askew_no_such_package:command", COMMANDS)
FAILING = EntryPoint("failing", "tests.client.cli.failing_commands:fail", COMMANDS)
STOPPED = EntryPoint("stopped", "tests.client.cli.failing_commands:stop", COMMANDS)


@dataclass
class Ended:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


def askew(*arguments: str | Path, more_commands: Sequence[EntryPoint] = ()) -> Ended:
    """Run a command in this process, which takes a tenth of the time of a new process."""
    written_out, written_err = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(each, encoding="utf-8") for each in (written_out, written_err))
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([*map(str, arguments)], [*entry_points(group=COMMANDS), *more_commands])
        except SystemExit as stop:
            code = stop.code or 0
    out.flush()
    err.flush()
    assert isinstance(code, int)
    return Ended(code, written_out.getvalue(), written_err.getvalue())


def python(code: str, *arguments: str | Path) -> Ended:
    """Run some lines of Python in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def askew_without(module: str, *arguments: str | Path) -> Ended:
    """Run a command in a new process in which a module cannot be imported."""
    lines = f"import sys\nsys.modules[{module!r}] = None\nfrom askew_client.cli.main import main\nmain(sys.argv[1:])"
    return python(lines, *arguments)


def test_version_and_help() -> None:
    assert askew("--version").stdout.decode().strip() == f"askew {version('askew-client')}"
    alone = askew()
    assert alone.returncode == 0
    for command in ("inspect", "check", "encode", "search"):
        assert command in alone.stdout.decode()


def test_the_help_groups_commands_by_what_they_are_for_and_shows_flags_as_flags() -> None:
    shown = askew("--help").stdout.decode()
    headings = ["Options", "Describe and search", "Galleries and the server", "Train and evaluate"]
    places = [shown.index(heading) for heading in headings]
    assert places == sorted(places)
    assert shown.index(" search ") < places[2] < shown.index(" serve ") < places[3] < shown.index(" train ")
    for page in (shown, *(askew(*command, "--help").stdout.decode() for command in (["serve"], ["gallery", "list"]))):
        assert "<bool>" not in page
    assert "--json" in askew("gallery", "list", "--help").stdout.decode()


def test_a_shell_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ASKEW_COMPLETE", "complete_bash")
    for typed, offered in (
        ("askew ga", ["gallery"]),
        ("askew gallery d", ["describe", "delete"]),
        ("askew gallery list --s", ["--server"]),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
        assert askew().stdout.decode().split() == offered


@pytest.mark.slow
def test_help_imports_no_large_library() -> None:
    done = python("""
import contextlib, io, sys
from askew_client.cli.main import main
for arguments in (["--help"], ["search", "--help"], ["encode", "--help"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        main(arguments)
    assert "Usage" in shown.getvalue()
print(sorted({"onnxruntime", "faiss", "fastapi", "torch", "onnx", "timm", "uvicorn"} & set(sys.modules)))
""")
    assert (done.stdout.decode().strip(), done.stderr.decode()) == ("[]", "")


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["inspect"], ["search", "p.jpg", "--limit", "0"], ["--what"]]
)
def test_the_exit_code_of_wrong_usage_is_2(arguments: list[str]) -> None:
    result = askew(*arguments)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr


def test_inspect_prints_the_manifest(teacher_file: Path) -> None:
    shown = askew("inspect", teacher_file)
    assert shown.returncode == 0
    assert Encoder(teacher_file).space_id in shown.stdout.decode()


@pytest.mark.slow
def test_inspect_needs_no_onnxruntime(teacher_file: Path) -> None:
    found = json.loads(askew_without("onnxruntime", "inspect", teacher_file, "--json").stdout)
    assert found["manifest"] == Encoder(teacher_file).manifest.model_dump(exclude_none=True)
    assert (found["opset"], found["size"]) == (18, teacher_file.stat().st_size)


def test_check_reports_whether_this_machine_agrees(teacher_file: Path, tmp_path: Path) -> None:
    agreed = askew("check", teacher_file)
    assert (agreed.returncode, agreed.stdout.decode().splitlines()[-1]) == (0, "This machine agrees.")
    other = np.zeros(64, dtype=np.float32)
    other[0] = 1
    manifest = Encoder(teacher_file).manifest
    golden = {**manifest.golden, "thin": golden_text(other)}
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(sealed(onnx.load(teacher_file), manifest.model_copy(update={"golden": golden}).to_metadata()))
    refused = askew("check", wrong)
    assert refused.returncode == 1
    assert "DIFFERS" in refused.stdout.decode()
    report = askew("check", wrong, "--json")
    assert report.returncode == 1
    found = json.loads(report.stdout)
    assert not found["agrees"]
    assert found["distances"]["thin"] > 0.1 > found["distances"]["small"]


def test_encode_writes_to_the_chosen_output(teacher_file: Path, photos: list[Path], tmp_path: Path) -> None:
    wanted = Encoder(teacher_file).encode(photos[:2])
    out = tmp_path / "vectors.npy"
    assert askew("encode", *photos[:2], "--encoder", teacher_file, "--out", out).returncode == 0
    assert np.array_equal(np.load(out), wanted)
    found = json.loads(askew("encode", *photos[:2], "--encoder", teacher_file, "--json").stdout)
    assert [each["photo"] for each in found["vectors"]] == [str(photo) for photo in photos[:2]]
    assert np.array_equal(np.array([each["vector"] for each in found["vectors"]], dtype=np.float32), wanted)
    raw = askew("encode", photos[0], "--encoder", teacher_file, "--raw").stdout
    assert unpack(raw, "f16le", 64) == pytest.approx(wanted[0], abs=1e-3)
    assert askew("encode", photos[0], "--encoder", teacher_file).returncode == 2
    assert askew("encode", photos[0], "--encoder", teacher_file, "--json", "--raw").returncode == 2


def test_encode_never_replaces_what_it_reads_and_says_what_cannot_be_written(
    teacher_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    photo, encoder = tmp_path / "photo.jpg", tmp_path / "teacher.onnx"
    photo.write_bytes(photos[0].read_bytes())
    encoder.write_bytes(teacher_file.read_bytes())
    (tmp_path / "linked.npy").symlink_to(photo)
    for out, code, sentence in (
        (photo, 2, "is a file to read"),
        (tmp_path / "linked.npy", 2, "is a file to read"),
        (encoder, 2, "is a file to read"),
        (tmp_path, 1, "is a folder"),
        (tmp_path / "missing" / "out.npy", 1, "is not a folder"),
    ):
        ended = call_askew("encode", photo, "--encoder", encoder, "--out", out)
        assert ended.returncode == code and sentence in " ".join(ended.stderr.replace("│", " ").split()), out
    assert photo.read_bytes() == photos[0].read_bytes() and encoder.read_bytes() == teacher_file.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_encode_names_the_photos_that_it_cannot_describe_and_describes_the_rest(
    teacher_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    broken, out = tmp_path / "broken.jpg", tmp_path / "vectors.npy"
    broken.write_bytes(photos[0].read_bytes()[:300])
    given = [photos[0], broken, tmp_path / "missing.jpg", photos[1]]
    wanted = Encoder(teacher_file).encode(photos[:2])
    ended = askew("encode", *given, "--encoder", teacher_file, "--out", out)
    assert ended.returncode == 3
    assert all(name in ended.stderr.decode() for name in ("broken.jpg", "missing.jpg", "skipped: 2 photos"))
    assert np.array_equal(np.load(out), wanted)
    ended = askew("encode", *given, "--encoder", teacher_file, "--json")
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["taken"], found["skipped"]["count"]) == (3, 2, 2)
    assert [each["photo"] for each in found["vectors"]] == [str(photo) for photo in photos[:2]]
    ended = askew("encode", *given, "--encoder", teacher_file, "--raw")
    assert (ended.returncode, len(ended.stdout)) == (3, 2 * 64 * 2)
    none = askew("encode", *given[1:3], "--encoder", teacher_file, "--out", tmp_path / "none.npy")
    assert none.returncode == 1
    assert "None of 2 photos can be described" in none.stderr.decode()
    assert not (tmp_path / "none.npy").exists()


def one_line(result: Ended) -> str:
    """What a failed command printed: one line, with the exit code 1."""
    (line,) = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert line.startswith("askew: ")
    return line


@pytest.mark.slow
def test_errors_are_one_line(teacher_file: Path, photos: list[Path], tmp_path: Path) -> None:
    assert "is not an ONNX file" in one_line(askew("inspect", photos[0]))
    assert "cannot be read" in one_line(askew("encode", "missing.jpg", "--encoder", teacher_file, "--json"))
    no_server = ["--server", "http://127.0.0.1:1"]
    assert "No server answers" in one_line(askew("search", photos[0], "--encoder", teacher_file, *no_server))
    assert "missing.jpg" in one_line(askew("search", "missing.jpg", *no_server))
    no_folder = tmp_path / "no" / "such" / "folder.npy"
    assert "is not a folder" in one_line(askew("encode", photos[0], "--encoder", teacher_file, "--out", no_folder))
    assert "pip install onnxruntime" in one_line(askew_without("onnxruntime", "check", teacher_file))


def test_search_sends_the_given_key(
    server: ScriptedServer, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.problem(ProblemKind.UNAUTHORISED)
    search: list[str | Path] = ["search", photos[0], "--server", server.url]
    monkeypatch.delenv("ASKEW_KEY", raising=False)
    assert "Give the key with --key, or in ASKEW_KEY." in one_line(askew(*search))
    assert "authorization" not in server.requests[-1].headers
    server.answers.clear()
    server.problem(ProblemKind.FORBIDDEN)
    assert one_line(askew(*search, "--key", "ask_1")) == "askew: What came, and what to do."
    assert server.requests[-1].headers["authorization"] == "Bearer ask_1"
    monkeypatch.setenv("ASKEW_KEY", "ask_2\n")
    one_line(askew(*search))
    assert server.requests[-1].headers["authorization"] == "Bearer ask_2"
    refused = one_line(askew(*search, "--key", "two secret words"))
    assert "Expected an API key" in refused
    assert "secret" not in refused


def test_without_typer_the_error_names_the_extra() -> None:
    assert "pip install typer rich" in one_line(askew_without("typer", "--help"))


def test_the_other_commands_work_when_one_cannot_be_imported(teacher_file: Path) -> None:
    assert askew("inspect", teacher_file, more_commands=[BROKEN]).returncode == 0
    shown = " ".join(askew("--help", more_commands=[BROKEN]).stdout.decode().split())
    assert "(cannot be loaded" in shown
    assert "inspect" in shown
    refused = one_line(askew("broken", "x", "--y", more_commands=[BROKEN]))
    assert "'broken' cannot be loaded: ModuleNotFoundError: No module named 'askew_no_such_package'" in refused


def test_an_unknown_command_is_refused_with_the_ones_that_are_known() -> None:
    refused = askew("inspec")
    assert refused.returncode == 2
    assert "inspect" in refused.stderr.decode()


def test_a_command_that_is_called_is_imported_alone(teacher_file: Path) -> None:
    sys.modules.pop(FAILING.module, None)
    assert askew("inspect", teacher_file, more_commands=[FAILING]).returncode == 0
    assert FAILING.module not in sys.modules
    assert askew("--version", more_commands=[FAILING]).returncode == 0
    assert FAILING.module in sys.modules


def test_a_traceback_is_shown_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASKEW_DEBUG", raising=False)
    assert "RuntimeError: two lines" in one_line(askew("failing", more_commands=[FAILING]))
    monkeypatch.setenv("ASKEW_DEBUG", "1")
    assert b"Traceback" in askew("failing", more_commands=[FAILING]).stderr


def test_the_exit_code_of_a_stopped_command_is_130() -> None:
    stopped = askew("stopped", more_commands=[STOPPED])
    assert (stopped.returncode, stopped.stderr.decode().strip()) == (130, "askew: stopped")


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error(teacher_file: Path, photos: list[Path]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "askew_client.cli.main", "encode", *photos, "--encoder", teacher_file, "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (1, b"")


@pytest.mark.slow
def test_the_http_client_is_imported_when_it_is_first_used() -> None:
    lines = (
        "import sys, askew_client, askew_server.http.server",
        "assert 'httpx' not in sys.modules",
        "from askew_client import *",
        "assert 'httpx' in sys.modules and all(name in globals() for name in askew_client.__all__)",
        "assert not hasattr(askew_client, 'Nothing')",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)
