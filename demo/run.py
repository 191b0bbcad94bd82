"""The script behind `make demo`: index the demo gallery, serve it, and search it with a student over HTTP.

Environment: PORT (default 8000), CHECK=1 (stop after the searches; exit 0 only if every landmark comes first) and
DEMO_DATA (the folder of the gallery, default demo/data).
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
TEACHER = HERE / "encoders" / "teacher.onnx"
STUDENT = HERE / "encoders" / "student.onnx"
CREDITS = HERE / "credits.csv"
GALLERY = "demo"
SECONDS_TO_GET_READY = 60

# With an older Python, print a readable message instead of an ImportError.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"Askew needs Python 3.11 or newer; this is {sys.version.split()[0]}. Use: make demo PYTHON=...")
try:
    import httpx
    from rich.console import Console
    from rich.table import Table

    from askew_client import Client, Encoder
    from askew_client.contract.wire import pack
except ImportError as error:
    sys.exit(f"{error}. The demo has its own environment, which `make demo` makes.")


@dataclass(frozen=True)
class Answer:
    """The answer for one query photo."""

    photo: Path
    wanted: str
    hits: list[tuple[str, str, float]]
    """id, title and score of the best three."""
    describe_ms: float
    search_ms: float
    bytes_sent: int

    @property
    def found(self) -> bool:
        """Whether the landmark came first."""
        return bool(self.hits) and self.hits[0][0] == self.wanted


def main() -> int:
    """Run the demo. Returns 0 if every landmark came first, else 1."""
    check = os.environ.get("CHECK", "") not in ("", "0")
    port = port_to_serve_on()
    data = Path(os.environ.get("DEMO_DATA") or HERE / "data")
    for encoder in (TEACHER, STUDENT):
        if not encoder.is_file():
            give_up(f"{encoder} is missing. The demo's encoders are part of the repository: restore demo/encoders/.")
    out = Console(width=None if sys.stdout.isatty() else 120, highlight=False)

    out.print("[bold]1[/]  The teacher describes the gallery (photos that are described already are skipped).")
    into = ["--gallery", GALLERY, "--data", str(data)]
    askew("index", str(HERE / "gallery"), *into, "--encoder", str(TEACHER), "--payloads", str(CREDITS))
    out.print("[bold]2[/]  The student is admitted only if it lands in the teacher's space.")
    askew("admit", str(STUDENT), *into)
    try:
        with server(data, port) as (url, seconds):
            out.print(f"[bold]3[/]  The server was ready after {seconds:.2f} s.")
            answers = search_with_the_student(url)
            show(out, answers)
            if not check:
                stay_up(out, url)
    except KeyboardInterrupt:
        out.print("\nStopped.")
        return 0
    right = sum(answer.found for answer in answers)
    out.print(f"{right} of {len(answers)} landmarks came first.")
    return 0 if right == len(answers) else 1


def port_to_serve_on() -> int:
    """The port in PORT. Ends the demo if it is invalid or in use, before the gallery is indexed."""
    text = os.environ.get("PORT") or "8000"
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        give_up(f"PORT={text} is not a port: expected a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            give_up(f"Port {text} of 127.0.0.1 cannot be used ({error.strerror}). Try: make demo PORT=8001")
    return int(text)


def askew(*arguments: str) -> None:
    """Run one `askew` command and show its output. Ends the demo if it fails."""
    code = subprocess.run(askew_command(*arguments), check=False).returncode
    if code != 0:
        give_up(f"`askew {arguments[0]}` failed with exit code {code}; see above.", code)


def askew_command(*arguments: str) -> list[str]:
    """A command line of `askew` in the demo's own environment, independent of PATH."""
    return [sys.executable, "-m", "askew_client.cli.main", *arguments]


@contextmanager
def server(data: Path, port: int) -> Iterator[tuple[str, float]]:
    """Run `askew serve` until the block ends. Yields its URL and the seconds until it was ready."""
    url = f"http://127.0.0.1:{port}"
    log = data / "serve.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        command = askew_command(
            "serve", "--data", str(data), "--gallery", GALLERY, "--port", str(port), "--photo-search"
        )
        # In a separate session, so that Ctrl-C reaches only this process, which then shuts the server down.
        child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        while not is_ready(url):
            if child.poll() is not None:
                give_up(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            if time.perf_counter() - began > SECONDS_TO_GET_READY:
                give_up(f"The server was not ready after {SECONDS_TO_GET_READY} s; its log is {log}.")
            time.sleep(0.02)
        yield url, time.perf_counter() - began
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def is_ready(url: str) -> bool:
    """Whether `/readyz` answers 200."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def search_with_the_student(url: str) -> list[Answer]:
    """Describe each query photo in this process, as a phone does, and send only the vector."""
    with CREDITS.open(encoding="utf-8", newline="") as lines:
        queries = [(HERE / row["file"], row["id"]) for row in csv.DictReader(lines) if row["role"] == "query"]
    student = Encoder(STUDENT)
    answers = []
    with Client(url) as client:
        for photo, wanted in queries:
            began = time.perf_counter()
            vector = student.encode(photo)[0]
            described = time.perf_counter()
            found = client.search(vector, space=student.space_id, encoder=student.manifest.encoder_id, limit=3)
            searched = time.perf_counter()
            hits = [(hit.id, str(hit.payload.get("title", hit.id)), hit.score) for hit in found.hits]
            sent = len(pack(vector))
            answers.append(Answer(photo, wanted, hits, (described - began) * 1e3, (searched - described) * 1e3, sent))
    return answers


def show(out: Console, answers: list[Answer]) -> None:
    """Print the hits, the times and the bytes sent."""
    table = Table(title="Five photos that are not in the gallery, described by the student", title_justify="left")
    table.add_column("query photo")
    table.add_column("best three hits, by score")
    for heading in ("describe", "search", "sent", "the photo"):
        table.add_column(heading, justify="right", no_wrap=True)
    for answer in answers:
        first, *others = [f"{score:.3f} {title}" for _, title, score in answer.hits] or ["nothing"]
        mark = "[green]✓[/]" if answer.found else "[red]✗[/]"
        table.add_row(
            answer.photo.name,
            "\n".join([f"{mark} [bold]{first}[/]", *(f"  [dim]{other}[/]" for other in others)]),
            f"{answer.describe_ms:.0f} ms",
            f"{answer.search_ms:.1f} ms",
            f"{answer.bytes_sent:,} B",
            f"{answer.photo.stat().st_size:,} B",
        )
    out.print(table)


def stay_up(out: Console, url: str) -> None:
    """Serve until the user stops the demo."""
    out.print(f"\nOpen [bold]{url}/[/] in a browser and search with your own photo, or search from a shell:")
    photo = "demo/queries/taj-mahal.jpg"
    out.print(
        f'  curl -H "Content-Type: image/jpeg" --data-binary @{photo} "{url}/search/photo?limit=3"',
        soft_wrap=True,
    )
    out.print("The server runs until you press Ctrl-C.")
    signal.pause()


def give_up(sentence: str, code: int = 1) -> NoReturn:
    """End the demo with an error message."""
    print(sentence, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    # A plain `kill` stops the demo and its server like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
