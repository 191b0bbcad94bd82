"""What the server writes: lines of JSON for machines, or readable ones on a terminal. One pipeline for every logger."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import Literal

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

_MOST_WAITING = 10_000
_GATHER_SECONDS = 0.05


class Logs:
    """The process's logging while a server runs: our own loggers, uvicorn's, and Python's warnings."""

    def __init__(self, form: LogFormat, level: LogLevel, descriptor: int = 2) -> None:
        """Begin to write to an open file, stderr if none is named; `auto` is readable on a terminal and JSON elsewhere."""
        is_terminal = os.isatty(descriptor)
        self._handler = _Handler(descriptor)
        self._handler.setFormatter(_formatter(form == "json" or (form == "auto" and not is_terminal), is_terminal))
        root = logging.getLogger()
        root.handlers = [self._handler]
        root.setLevel(level.upper())
        # Not uvicorn.access: its lines would name paths, and so items.
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).handlers = []
            logging.getLogger(name).propagate = True
        # What other libraries say of each request they make or take is not the server's log.
        logging.getLogger("httpx").setLevel(max(logging.WARNING, root.level))
        logging.captureWarnings(True)

    def close(self) -> None:
        """Write what waits, and stop."""
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()


class _Handler(logging.Handler):
    """Writes lines in a thread of its own: a reader of our output that stalls must not stall searches.

    At most 10,000 lines wait; beyond that they are dropped, and a line says how many.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._there_is_work = threading.Event()
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write, name="logs", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        try:
            line = self.format(record)
        # A line that cannot be made must not fail the request that it is about.
        except Exception:  # noqa: BLE001
            self.handleError(record)
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._there_is_work.set()

    def close(self) -> None:
        """Write what waits; a reader that stalls is given up after two seconds."""
        self._ending.set()
        self._there_is_work.set()
        self._writer.join(timeout=2)
        super().close()

    def _write(self) -> None:
        while not self._ending.is_set() or self._waiting:
            self._there_is_work.wait()
            # Lines of one moment are written together.
            self._ending.wait(_GATHER_SECONDS)
            self._there_is_work.clear()
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            dropped, self._dropped = self._dropped, 0
            if dropped:
                lines.append(self.format(_note(f"{dropped} lines of this log were dropped: its reader stalled.")))
            self._write_all("".join(f"{line}\n" for line in lines).encode())

    def _write_all(self, text: bytes) -> None:
        # Not through sys.stderr: its lock, held by a thread that stalls, would crash the interpreter when it ends.
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:
            # Nobody reads any more.
            return


def _note(text: str) -> logging.LogRecord:
    return logging.LogRecord("askew.server", logging.WARNING, __file__, 0, text, None, None)


def _formatter(is_json: bool, coloured: bool) -> logging.Formatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    else:
        last += [structlog.dev.ConsoleRenderer(colors=coloured, sort_keys=False)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def _json(event: EventDict, **_: object) -> str:
    return to_json(event, serialize_unknown=True).decode()
