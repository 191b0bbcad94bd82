"""The `askew` command and how it ends: an exit code, and one line on stderr for an error."""

from __future__ import annotations

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


def main(arguments: Sequence[str] | None = None, commands: Iterable[EntryPoint] | None = None) -> None:
    """Run one command. Exit code 1 if it fails, 2 if it was called wrongly, 130 if it was stopped.

    `arguments`: None: those of the process. `commands`: None: those of all installed packages.
    """
    try:
        _run(sys.argv[1:] if arguments is None else arguments, commands)
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


def _say(sentence: str) -> None:
    """Print one line on stderr."""
    print("askew:", " ".join(sentence.split()), file=sys.stderr)


if __name__ == "__main__":
    main()
