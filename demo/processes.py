"""The `askew` commands that the demo runs, and its server. None of them outlives the demo."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import httpx

LEASH = Path(__file__).with_name("leash.py")
SECONDS_TO_GET_READY = 60


def give_up(sentence: str, code: int = 1) -> NoReturn:
    """End the demo with an error message."""
    print(sentence, file=sys.stderr)
    sys.exit(code)


def run_askew(*arguments: str, keeps_output: bool = False) -> str:
    """Run one `askew` command and show its output, or return it. Ends the demo if the command fails."""
    output = subprocess.PIPE if keeps_output else None
    with subprocess.Popen(_on_a_leash(*arguments), stdin=subprocess.PIPE, stdout=output, text=True) as leash:
        # Not `communicate`: that would close standard input, which ends the command.
        text = leash.stdout.read() if leash.stdout else ""
        code = leash.wait()
    if code != 0:
        give_up(f"`askew {arguments[0]}` failed with exit code {code}; see above.", code)
    return text


@contextmanager
def running_server(data: Path, options: Sequence[str], url: str, trusted: ssl.SSLContext | bool) -> Iterator[float]:
    """Run `askew serve` on DATA until the block ends. Yields the seconds until it was ready.

    `url`: where it answers this process. `trusted`: the certificates that are trusted there.
    """
    log = data / "serve.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        # In a separate session, so that Ctrl-C reaches only this process, which then shuts the server down.
        leash = subprocess.Popen(
            _on_a_leash("serve", "--data", str(data), *options),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    assert leash.stdin is not None
    try:
        while not _is_ready(url, trusted):
            if leash.poll() is not None:
                give_up(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            if time.perf_counter() - began > SECONDS_TO_GET_READY:
                give_up(f"The server was not ready after {SECONDS_TO_GET_READY} s; its log is {log}.")
            time.sleep(0.02)
        yield time.perf_counter() - began
    finally:
        leash.stdin.close()
        leash.wait()


def _on_a_leash(*arguments: str) -> list[str]:
    """A command line of `askew` in the demo's own environment, independent of PATH."""
    return [sys.executable, str(LEASH), sys.executable, "-m", "askew_client.cli.main", *arguments]


def _is_ready(url: str, trusted: ssl.SSLContext | bool) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False, verify=trusted).status_code == 200
    except httpx.TransportError:
        return False
