"""What libraries and child processes write to stderr themselves, as lines of the log."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
from types import TracebackType

_READ_BYTES = 65_536
_END = b"\0the log ends\0\n"
"""Written to the pipe at the end: child processes may hold it open for longer."""


class StandardErrorRelay:
    """Puts a pipe in the place of file descriptor 2, and logs what comes out of it, as warnings of the logger `stderr`.

    Native libraries and child processes, which inherit the pipe, write there past Python's logging. Lines that come at
    once, such as those of a traceback, are one entry. A crash of this process is still written to the original place.
    `descriptor`: that place, for the log itself.
    """

    def __init__(self) -> None:
        """Raises OSError where there is no file descriptor 2."""
        self.descriptor = os.dup(2)
        self._reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self._crashes_were_written = faulthandler.is_enabled()
        faulthandler.enable(self.descriptor)
        self._thread = threading.Thread(target=self._read, name="logs-stderr", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 1.0) -> None:
        """Put the original place back, after what was written until now is logged."""
        sys.stderr.flush()
        with contextlib.suppress(OSError):
            os.write(2, _END)
        os.dup2(self.descriptor, 2)
        self._thread.join(timeout)
        if not self._crashes_were_written:
            faulthandler.disable()

    def _read(self) -> None:
        log = logging.getLogger("stderr")
        rest = b""
        while chunk := os.read(self._reading, _READ_BYTES):
            rest += chunk
            whole, end, _ = rest.partition(_END)
            if not end and not rest.endswith(b"\n") and len(rest) < _READ_BYTES:
                # The rest of the line follows.
                continue
            if text := whole.decode("utf-8", "replace").strip("\n"):
                log.warning("%s", text)
            if end:
                return
            rest = b""


class ExceptionHooks:
    """Logs exceptions that nothing has caught, in threads, callbacks and finalisers, with their tracebacks."""

    def __init__(self) -> None:
        self._previous = threading.excepthook, sys.unraisablehook, sys.excepthook
        threading.excepthook = _log_thread_exception
        sys.unraisablehook = _log_unraisable
        sys.excepthook = _log_exception

    def close(self) -> None:
        """Put the previous hooks back."""
        threading.excepthook, sys.unraisablehook, sys.excepthook = self._previous


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    name = "a thread" if args.thread is None else f"thread {args.thread.name}"
    _log(f"{name} failed", args.exc_type, args.exc_value, args.exc_traceback)


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    what = args.err_msg or "an exception was ignored"
    _log(what if args.object is None else f"{what}: {args.object!r}", args.exc_type, args.exc_value, args.exc_traceback)


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log("the server failed", kind, error, trace)


def _log(message: str, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    value = error if error is not None else kind()
    logging.getLogger("askew.server").error("%s", message, exc_info=(kind, value, trace))
