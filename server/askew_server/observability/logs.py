"""The server's log: JSON lines for programs, or readable ones on a terminal. Everything is written through it.

A JSON line has `time`, `level`, `logger` and `message`, and what belongs to its kind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from askew_server.observability.standard_error import ExceptionHooks, StandardErrorRelay

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

MAX_WAITING = 10_000
CLOSE_SECONDS = 2.0
GATHER_SECONDS = 0.05


class Logs:
    """The process's logging while a server runs: our own loggers, uvicorn's, Python's warnings, and what would be written
    to stderr past them: exceptions of threads, texts of native libraries and of child processes.

    Lines are formatted by the thread that logs and written by a separate thread: a program that reads them and
    stalls does not stall requests.
    """

    def __init__(
        self, form: LogFormat, level: LogLevel, descriptor: int = 2, *, max_waiting: int = MAX_WAITING
    ) -> None:
        """Start to write to an open file, by default stderr.

        `form`: `auto` is `console` on a terminal and `json` elsewhere. `max_waiting`: lines that may wait to be written;
        further ones are dropped, and a line says how many.
        """
        is_terminal = os.isatty(descriptor)
        lines: SimpleQueue[str] = SimpleQueue()
        self._handler = DroppingQueueHandler(lines, max_waiting)
        self._handler.setFormatter(_formatter(form == "json" or (form == "auto" and not is_terminal), is_terminal))
        self._hooks = ExceptionHooks()
        self._relay = _relay() if descriptor == 2 else None
        self._writer = LineWriter(lines, descriptor if self._relay is None else self._relay.descriptor)
        self._writer.start()
        root = logging.getLogger()
        root.handlers = [self._handler]
        root.setLevel(level.upper())
        # Not uvicorn.access: its lines contain paths, and so items' ids.
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).handlers = []
            logging.getLogger(name).propagate = True
        # httpx logs each request that it makes, and faiss which of its builds it tries until one loads; these lines do not
        # belong in the server's log.
        for name in ("httpx", "faiss"):
            logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
        # Anew: whoever captured them before may have been undone since, and a second call alone would do nothing.
        logging.captureWarnings(False)
        logging.captureWarnings(True)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Write the lines that wait, and stop. Gives up after `timeout` seconds if the reader stalls."""
        self._hooks.close()
        if self._relay is not None:
            # Before the handler is removed: without one, logging itself writes to stderr.
            self._relay.close(timeout)
            self._relay = None
        logging.getLogger().removeHandler(self._handler)
        self._handler.report_dropped()
        # QueueListener.stop waits without a limit.
        stopping = threading.Thread(target=self._writer.stop, name="logs-stop", daemon=True)
        stopping.start()
        stopping.join(timeout)
        self._handler.close()


class DroppingQueueHandler(QueueHandler):
    """Queues formatted lines. When `max_waiting` of them wait, drops further ones and counts them."""

    def __init__(self, lines: SimpleQueue[str], max_waiting: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._max_waiting = max_waiting
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line, or drop it. Called with the handler's lock held."""
        if self._lines.qsize() >= self._max_waiting:
            self._dropped += 1
            return
        self.report_dropped()
        super().emit(record)

    def prepare(self, record: logging.LogRecord) -> str:
        """What is queued of a record: its line, which names the request that the calling thread works on."""
        return self.format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Queue a line about a record that could not be formatted. logging itself would write a traceback to stderr."""
        text = f"a line of the logger {record.name} could not be formatted: {str(record.msg)[:200]!r}"
        failed = logging.LogRecord("askew.server", logging.ERROR, __file__, 0, "%s", (text,), sys.exc_info())
        # The error may be one of the queue or of the formatter itself: then there is no place left to report it.
        with contextlib.suppress(Exception):
            self._lines.put(self.prepare(failed))

    def report_dropped(self) -> None:
        """Queue a line that says how many were dropped since the last one, in the place of the missing ones."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            text = f"{dropped} lines of this log were dropped, because its reader stalled."
            super().emit(logging.LogRecord("askew.server", logging.WARNING, __file__, 0, text, None, None))


class LineWriter(QueueListener):
    """Writes queued lines to an open file, in a separate thread."""

    def __init__(self, lines: SimpleQueue[str], descriptor: int) -> None:
        super().__init__(lines)
        self._lines = lines
        self._descriptor = descriptor

    def handle(self, record: object) -> None:
        """Write one line, and those that are queued shortly after it.

        Not through another handler: while the reader stalls its lock would be held, and the interpreter takes the locks
        of all handlers when it ends.
        """
        # Waking this thread costs the one that logs as much as the line itself: wake it once for several.
        time.sleep(GATHER_SECONDS)
        queued = [record, *(self._lines.get() for _ in range(self._lines.qsize()))]
        lines = [each for each in queued if isinstance(each, str)]
        if len(lines) < len(queued):
            # `stop` has queued its mark behind the last line; put it back for the loop that waits for it.
            self.enqueue_sentinel()
        text = "".join(f"{line}\n" for line in lines).encode()
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:
            # The reader of the log has closed it.
            return


def start_line(form: LogFormat, message: str, **fields: str) -> str:
    """The line that a server prints on stdout once it listens: like the lines of the log, or plain on a terminal."""
    if form == "console" or (form == "auto" and os.isatty(1)):
        return message
    record = logging.LogRecord("askew.server", logging.INFO, __file__, 0, "%s", (message,), None)
    record.__dict__.update(fields)
    return _formatter(True, False).format(record)


def _relay() -> StandardErrorRelay | None:
    """None where the process has no stderr."""
    try:
        return StandardErrorRelay()
    except OSError:
        return None


def _formatter(is_json: bool, coloured: bool) -> logging.Formatter:
    # Imported here: the settings need only the names of formats and levels.
    import structlog

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        last += [structlog.processors.format_exc_info, _named, structlog.processors.JSONRenderer(_json)]
    else:
        last += [structlog.dev.ConsoleRenderer(colors=coloured, sort_keys=False, timestamp_key="time")]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def _without_colours(_: Any, __: str, event: EventDict) -> EventDict:
    """Leave out uvicorn's second copy of a message, with codes for a terminal's colours."""
    event.pop("color_message", None)
    return event


def _named(_: Any, __: str, event: EventDict) -> EventDict:
    """The members that every line has, first and by their usual names."""
    first = {name: event.pop(name, None) for name in ("time", "level", "logger")}
    return {**first, "message": event.pop("event", ""), **event}


def _json(event: EventDict, **_: Any) -> str:
    from pydantic_core import to_json

    return to_json(event, serialize_unknown=True).decode()
