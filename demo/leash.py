"""Run a command for as long as standard input is open: `python leash.py COMMAND ...`.

Whoever starts this holds the other end of a pipe. If that process ends, even by kill -9, the pipe closes, and the command
is asked to end (SIGTERM); after 15 seconds it is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

PATIENCE = 15


def main() -> int:
    """Run the command. Returns its exit code."""
    # Ctrl-C reaches every process of a terminal. The command acts on it; a handler is not inherited, unlike SIG_IGN.
    signal.signal(signal.SIGINT, lambda *_: None)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=end_with_the_input, args=(child,), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def end_with_the_input(child: subprocess.Popen[bytes]) -> None:
    """Wait until standard input is closed, then end the command."""
    # Nothing is ever written into the pipe.
    os.read(sys.stdin.fileno(), 1)
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main())
