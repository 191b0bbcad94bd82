"""The script behind `make demo`: index the demo gallery, serve it, and search it with a student over HTTP.

Environment: PORT (default 8000, with PHONE=1 8443), CHECK=1 (stop after the searches; exit 0 only if four landmarks come
first, and the fifth among the best three), DEMO_DATA (the folder of the gallery, default demo/data), PHONE=1 (serve phones in this network, over TLS
and with a key) and HOST (the address that they open; default: this machine's).
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# With an older Python, print a readable message instead of an ImportError.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"Askew needs Python 3.11 or newer; this is {sys.version.split()[0]}. Use: make demo PYTHON=...")
try:
    from keys import has_keys, replace_key
    from processes import give_up, run_askew, running_server
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from askew_client import Client, Encoder
    from askew_client.contract.wire import pack
    from askew_client.errors import AskewError
except ImportError as error:
    sys.exit(f"{error}. The demo has its own environment, which `make demo` makes.")
if TYPE_CHECKING:
    from phone_access import PhoneAccess

HERE = Path(__file__).resolve().parent
TEACHER = HERE / "encoders" / "teacher.onnx"
STUDENT = HERE / "encoders" / "student.onnx"
CREDITS = HERE / "credits.csv"
GALLERY = "demo"
PACK_FIELDS = "title,author,licence,source"
PORT = 8000
MUST_COME_FIRST = 4
"""Of the five. For one of them, Christ the Redeemer, the teacher itself hardly prefers the right photo (0.25 to 0.23 for the
Statue of Liberty), and the student was not chosen by these five: docs/demo-encoders.md."""


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
    def place(self) -> int:
        """The landmark's place among the best three, from 1 on; 0: it is not there."""
        ids = [item_id for item_id, _, _ in self.hits]
        return ids.index(self.wanted) + 1 if self.wanted in ids else 0


def main() -> int:
    """Run the demo. Returns 0 if enough landmarks came first and all were among the best three, else 1."""
    check = is_set("CHECK")
    access = phone_access() if is_set("PHONE") else None
    port = port_to_serve_on(access)
    data = Path(os.environ.get("DEMO_DATA") or HERE / "data")
    for encoder in (TEACHER, STUDENT):
        if not encoder.is_file():
            give_up(f"{encoder} is missing. The demo's encoders are part of the repository: restore demo/encoders/.")
    out = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    try:
        prepare(out, data)
        answers = serve_phones(out, data, port, access, check) if access else serve(out, data, port, check)
    except KeyboardInterrupt:
        out.print("\nStopped.")
        return 0
    except AskewError as error:
        give_up(f"The search failed: {error}")
    first = sum(answer.place == 1 for answer in answers)
    shown = sum(answer.place > 0 for answer in answers)
    out.print(f"{first} of {len(answers)} landmarks came first, {shown} were among the best three.")
    return 0 if first >= MUST_COME_FIRST and shown == len(answers) else 1


def is_set(name: str) -> bool:
    """Whether a variable switches something on."""
    return os.environ.get(name, "") not in ("", "0")


def phone_access() -> PhoneAccess:
    """How phones reach this machine. Ends the demo if they cannot."""
    try:
        from phone_access import find_access
    except ImportError as error:
        give_up(f"{error}. PHONE=1 needs packages that `make demo PHONE=1` installs.")
    return find_access(os.environ.get("HOST", ""))


def port_to_serve_on(access: PhoneAccess | None) -> int:
    """The port in PORT. Ends the demo if it is invalid or in use, before the gallery is indexed."""
    usual, other, listens_on = (PORT, "8001", "127.0.0.1")
    if access:
        usual, other, listens_on = (8443, "8444 PHONE=1", access.listens_on)
    text = os.environ.get("PORT") or str(usual)
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        give_up(f"PORT={text} is not a port: expected a number from 1 to 65535.")
    family = socket.AF_INET6 if ":" in listens_on else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((listens_on, int(text)))
    except OSError as error:
        give_up(f"Port {text} of {listens_on} cannot be used ({error.strerror}). Try: make demo PORT={other}")
    return int(text)


def prepare(out: Console, data: Path) -> None:
    """Describe the gallery with the teacher, admit the student, and make the offline pack."""
    into = ["--gallery", GALLERY, "--data", str(data)]
    out.print("[bold]1[/]  The teacher describes the gallery (photos that are described already are skipped).")
    run_askew("index", str(HERE / "gallery"), *into, "--encoder", str(TEACHER), "--payloads", str(CREDITS))
    out.print("[bold]2[/]  The student is admitted only if it lands in the teacher's space.")
    run_askew("admit", str(STUDENT), *into)
    out.print(
        "[bold]3[/]  Devices may keep the gallery and search it without a network: its photos have open licences."
    )
    run_askew("gallery", "pack", GALLERY, "--data", str(data), "--fields", PACK_FIELDS, "--thumbnails", "160")


def serve(out: Console, data: Path, port: int, check: bool) -> list[Answer]:
    """Serve this machine, and search. With `check`, return after the searches, else when the user stops the demo."""
    # Once PHONE=1 has made a key, the server answers nobody without one.
    key = replace_key(data, "demo", GALLERY) if has_keys(data) else None
    url = f"http://127.0.0.1:{port}"
    options = ["--gallery", GALLERY, "--port", str(port), "--photo-search"]
    with running_server(data, options, url, True) as seconds:
        out.print(f"[bold]4[/]  The server was ready after {seconds:.2f} s.")
        answers = search_with_the_student(url, key)
        show(out, answers)
        if not check:
            stay_up(out, url, key)
    return answers


def serve_phones(out: Console, data: Path, port: int, access: PhoneAccess, check: bool) -> list[Answer]:
    """Serve the network over TLS, and search. `check`: as in `serve`."""
    from phone_access import show_the_way

    try:
        certificates = access.certificates(data)
    except OSError as error:
        give_up(f"The certificates cannot be written to {data / 'phone'}: {error.strerror}.")
    key = replace_key(data, "phone", GALLERY)
    url = f"https://127.0.0.1:{port}"
    # The variable by which OpenSSL and httpx are told whom to trust.
    os.environ["SSL_CERT_FILE"] = str(certificates.authority)
    options = ["--gallery", GALLERY, "--host", access.listens_on, "--port", str(port), "--photo-search"]
    options += ["--tls-certificate", str(certificates.server), "--tls-key", str(certificates.server_key)]
    with running_server(data, options, url, ssl.create_default_context(cafile=certificates.authority)) as seconds:
        out.print(f"[bold]4[/]  The server was ready after {seconds:.2f} s.")
        answers = search_with_the_student(url, key)
        show(out, answers)
        show_the_way(access.address(port, key), certificates)
        if not check:
            wait_for_ctrl_c(out)
    return answers


def search_with_the_student(url: str, key: str | None) -> list[Answer]:
    """Describe each query photo in this process, as a phone does, and send only the vector. Raises AskewError."""
    with CREDITS.open(encoding="utf-8", newline="") as lines:
        queries = [(HERE / row["file"], row["id"]) for row in csv.DictReader(lines) if row["role"] == "query"]
    student = Encoder(STUDENT)
    answers = []
    with Client(url, key=key) as client:
        for photo, wanted in queries:
            began = time.perf_counter()
            vector = student.encode(photo)
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
        table.add_row(
            answer.photo.name,
            "\n".join(hit_lines(answer)),
            f"{answer.describe_ms:.0f} ms",
            f"{answer.search_ms:.1f} ms",
            f"{answer.bytes_sent:,} B",
            f"{answer.photo.stat().st_size:,} B",
        )
    out.print(table)


def hit_lines(answer: Answer) -> list[str]:
    """The best three, with a mark at the right one; where it is missing, before the first."""
    lines = [f"{score:.3f} {escape(title)}" for _, title, score in answer.hits] or ["nothing"]
    marks = ["[green]✓[/]" if number == answer.place else " " for number in range(1, len(lines) + 1)]
    if answer.place == 0:
        marks[0] = "[red]✗[/]"
    first, *others = [f"{mark} {line}" for mark, line in zip(marks, lines, strict=True)]
    return [f"[bold]{first}[/]", *(f"[dim]{other}[/]" for other in others)]


def stay_up(out: Console, url: str, key: str | None) -> None:
    """Say what to do with the server, and serve until the user stops the demo."""
    address = f"{url}/" if key is None else f"{url}/#key={key}"
    out.print(f"\nOpen [bold]{address}[/] in a browser and search with your own photo, or search from a shell:")
    photo = "demo/queries/taj-mahal.jpg"
    header = "" if key is None else f'-H "api-key: {key}" '
    out.print(
        f'  curl {header}-H "Content-Type: image/jpeg" --data-binary @{photo} "{url}/search/photo?limit=3"',
        soft_wrap=True,
    )
    wait_for_ctrl_c(out)


def wait_for_ctrl_c(out: Console) -> None:
    """Serve until the user stops the demo."""
    out.print("The server runs until you press Ctrl-C.")
    signal.pause()


if __name__ == "__main__":
    # A plain `kill` stops the demo and its server like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
