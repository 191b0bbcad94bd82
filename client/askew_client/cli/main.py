"""The `askew` command and how it ends: an exit code, and one line on stderr for an error."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint

from askew_client.contract.errors import AskewError, sentence_of

EXIT_FAILED = 1
EXIT_STOPPED = 130

_JSON_ESCAPES = "askew-json-escapes"


def main(arguments: Sequence[str] | None = None, commands: Iterable[EntryPoint] | None = None) -> None:
    """Run one command. Exit code 1 if it fails, 2 if it was called wrongly, 130 if it was stopped.

    `arguments`: None: those of the process. `commands`: None: those of all installed packages.
    """
    given = sys.argv[1:] if arguments is None else arguments
    _write_every_sign(as_json="--json" in given)
    try:
        _run(given, commands)
        sys.stdout.flush()
    except SystemExit as stop:
        if stop.code == EXIT_STOPPED:
            _say("stopped")
        raise
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(EXIT_STOPPED)
    except BrokenPipeError:
        # The reader of our output has closed the pipe. The interpreter would write to it again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    # Users see a traceback only if they ask for it.
    except Exception as error:  # noqa: BLE001
        if os.environ.get("ASKEW_DEBUG") == "1":
            traceback.print_exc()
        _say(sentence_of(error))
        sys.exit(EXIT_FAILED)


def _run(arguments: Sequence[str], commands: Iterable[EntryPoint] | None) -> None:
    # Pillow warns about odd photos; the errors of photos that cannot be read say what matters.
    warnings.filterwarnings("ignore", module="PIL")
    # Tracebacks behind a sentence, such as an odd photo's, are for those who ask, and for programs that set up a log.
    if os.environ.get("ASKEW_DEBUG") == "1":
        logging.basicConfig()
    else:
        logging.getLogger("askew_client").addHandler(logging.NullHandler())
    try:
        from askew_client.cli.registry import run_command
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        raise AskewError(
            "The command line needs typer and rich, which are not installed. Install them: pip install typer rich"
        ) from None
    run_command(arguments, commands)


def _write_every_sign(*, as_json: bool) -> None:
    """Keep the output from failing on a sign that the terminal's encoding lacks, for every command.

    It becomes a question mark; in JSON, its escape, so that programs read the same text from any terminal.
    """
    codecs.register_error(_JSON_ESCAPES, _escaped)
    # Tests and notebooks put other objects in their place, which take every text.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_JSON_ESCAPES if as_json else "replace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _say(sentence: str) -> None:
    """Print one line on stderr. Of a server's text, what would steer the terminal is left out."""
    line = " ".join(sentence.split())
    print(
        "askew:", "".join(each for each in line if each.isprintable() or "\udc80" <= each <= "\udcff"), file=sys.stderr
    )


if __name__ == "__main__":
    main()
