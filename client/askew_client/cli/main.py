"""The `askew` command, and how it ends: one line for whatever went wrong, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
import warnings

from askew_client.contract.errors import AskewError, sentence_of

EXIT_FAILED = 1
EXIT_STOPPED = 130


def main() -> None:
    """Run one command. Exit code 1 when it fails, 2 when it was called wrongly, 130 when it was stopped."""
    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except SystemExit as stop:
        if stop.code == EXIT_STOPPED:
            _say("stopped")
        raise
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(EXIT_STOPPED)
    except BrokenPipeError:
        # Whoever read our output has read enough; nothing may be written when the interpreter ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    # Whatever else went wrong: no traceback reaches a user who did not ask for one.
    except Exception as error:  # noqa: BLE001
        if os.environ.get("ASKEW_DEBUG") == "1":
            traceback.print_exc()
        _say(sentence_of(error))
        sys.exit(EXIT_FAILED)


def _run(arguments: list[str]) -> None:
    # Pillow's remarks on odd photos; what matters of them is said by the photo's own error.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        from askew_client.cli.registry import run_command
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        raise AskewError(
            "The command line needs typer and rich, which are not installed. pip install 'askew-client[cli]'"
        ) from None
    run_command(arguments)


def _say(sentence: str) -> None:
    """One line on stderr."""
    print("askew:", " ".join(sentence.split()), file=sys.stderr)


if __name__ == "__main__":
    main()
