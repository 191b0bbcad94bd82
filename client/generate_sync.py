"""Generates `askew_client/_sync` from `askew_client/_async`: `make unasync` writes it, `make lint` compares (`--check`).

unasync renames the tokens of the code (NAMES). Docstrings and comments are prose, so they have a separate table (PROSE).
ruff then sorts the imports and formats the result as the rest of the repository.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tokenize_rt  # type: ignore[import-untyped]
import unasync  # type: ignore[import-untyped]

CLIENT = Path(__file__).resolve().parent
PACKAGE = CLIENT / "askew_client"
WRITTEN_BY_HAND = frozenset({"__init__.py", "blocking.py"})
"""Files that exist in both folders; the generator neither reads nor writes them."""

NAMES = {
    "_async": "_sync",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncByteStream": "SyncByteStream",
    "AsyncClient": "Client",
    "AsyncConnections": "Connections",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncItems": "Items",
    "AsyncPool": "Pool",
    "AsyncSearchClient": "SearchClient",
    "AsyncWriteClient": "WriteClient",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "async_item_batches": "item_batches",
    "handle_async_request": "handle_request",
}
"""What a name of the asynchronous code is called in the synchronous code, besides what unasync knows itself."""

PROSE = (
    (" from asyncio", ""),
    ("Use it in an `async with` statement. Its calls may be awaited together, in one event loop.",
     "Close it, or use it in a `with` statement. It may be used from several threads."),
    ("at once, in one event loop;", "at once, from as many threads;"),
    ("AsyncClient", "Client"),
    ("AsyncSearchClient", "SearchClient"),
    ("AsyncWriteClient", "WriteClient"),
)  # fmt: skip
"""What a docstring or comment says instead, applied in this order."""

_LEFT_OVER = re.compile(r"\b(?:async|await|asyncio|Async\w*|event loop)\b")


def main(arguments: list[str] | None = None) -> None:
    """Write the generated files, or compare them (`--check`). Exit code 1 if a file differs or a rule is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a generated file differs")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="the folder that holds _async and _sync")
    options = parser.parse_args(arguments)
    source, target = options.package / "_async", options.package / "_sync"
    try:
        generated = generate(source)
    except ValueError as error:
        sys.exit(str(error))
    if not options.check:
        for name in _generated_names(target) - generated.keys():
            (target / name).unlink()
        for name, text in generated.items():
            (target / name).write_text(text, encoding="utf-8")
        return
    stale = [
        name for name in sorted({*generated, *_generated_names(target)}) if _read(target / name) != generated.get(name)
    ]
    if stale:
        names = ", ".join(str(target / name) for name in stale)
        sys.exit(
            f"Expected {names} to be what {source} generates, got other text. Run `make unasync`, and commit the result."
        )


def generate(source: Path) -> dict[str, str]:
    """The text of each generated file by its name. `source`: the `_async` folder. Raises ValueError for a missing rule."""
    written = [path for path in sorted(source.glob("*.py")) if path.name not in WRITTEN_BY_HAND]
    with tempfile.TemporaryDirectory() as folder:
        copies = Path(folder) / "_async"
        copies.mkdir()
        for path in written:
            (copies / path.name).write_bytes(path.read_bytes())
        rule = unasync.Rule("/_async/", "/_sync/", NAMES)
        unasync.unasync_files([str(copies / path.name) for path in written], [rule])
        return {path.name: _finished(Path(folder) / "_sync" / path.name) for path in written}


def _finished(path: Path) -> str:
    """What unasync wrote, with the prose replaced and formatted."""
    tokens = tokenize_rt.src_to_tokens(path.read_text(encoding="utf-8"))
    text = tokenize_rt.tokens_to_src(
        token._replace(src=_synchronous_prose(token.src)) if token.name in {"STRING", "COMMENT"} else token
        for token in tokens
    )
    left_over = _LEFT_OVER.search(text)
    if left_over:
        raise ValueError(
            f"{path.name} still says {left_over[0]!r} in line {text[: left_over.start()].count(chr(10)) + 1}. "
            f"Add a rule to {Path(__file__).name}."
        )
    first_line = (
        f"# Generated from _async/{path.name} by client/generate_sync.py: change that file, then run `make unasync`.\n"
    )
    return _formatted(first_line + text, path.name)


def _synchronous_prose(text: str) -> str:
    for asynchronous, synchronous in PROSE:
        text = text.replace(asynchronous, synchronous)
    return text


def _formatted(text: str, name: str) -> str:
    """As `make format` would leave it. The rules are those of the file's place in the repository."""
    place = str(PACKAGE / "_sync" / name)
    # UP028: a loop that only yields, which an asynchronous generator needs and a synchronous one does not.
    for command in (
        ["check", "--fix-only", "--unsafe-fixes", "--select", "I,UP028", "--quiet"],
        ["format", "--quiet"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", place, "-"],
            input=text, capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(f"ruff {command[0]} failed for {name}: {done.stderr.strip()}")
        text = done.stdout
    return text


def _generated_names(target: Path) -> set[str]:
    return {path.name for path in target.glob("*.py")} - WRITTEN_BY_HAND


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    main()
