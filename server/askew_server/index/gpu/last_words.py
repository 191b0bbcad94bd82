"""What a process wrote to its standard error before it ended: FAISS's assertions say there why they abort."""

from __future__ import annotations

import signal
import threading
from collections import deque
from typing import IO

_KEPT_LINES = 20
_MOST_CHARACTERS = 400
_JOIN_SECONDS = 0.2


class LastWords:
    """Reads a stream in a thread of its own, and keeps its last lines."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._read, args=(stream,), name="gpu-stderr", daemon=True)
        self._thread.start()

    def sentence(self, code: int) -> str:
        """How the process ended, and its most telling line. `code`: its exit code, negative for a signal."""
        self._thread.join(_JOIN_SECONDS)
        signals = {each.value: each.name for each in signal.Signals}
        how = f"by {signals.get(-code, f'signal {-code}')}" if code < 0 else f"with exit code {code}"
        lines = [line for line in self._lines if line]
        telling = [line for line in lines if "error" in line.lower()] or lines
        said = f" It said: {telling[-1][:_MOST_CHARACTERS]}" if telling else ""
        return f"The GPU's process ended {how}.{said}"

    def close(self) -> None:
        """Wait until all is read, once the process has ended."""
        self._thread.join(_JOIN_SECONDS)

    def _read(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream:
            for line in stream:
                self._lines.append(line.decode(errors="replace").strip())
