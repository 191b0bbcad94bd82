"""The record of one request, from which its metrics, log line, trace and Server-Timing header are made."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from askew_server.observability.metrics import NO_NAME, Stage

CLIENT_HAS_GONE = 499
"""The status of a request whose client closed the connection before the answer."""


@dataclass
class RequestRecord:
    """One request. Times are seconds of `time.perf_counter`.

    `route`: the template that it matched. `gallery`: the name of an existing one. `key`: the id of a key, never the key.
    `problem`: the slug of the problem that it was answered with. `stages`: of a search, with begin and end. `index`: the
    kind of index that answered a search.
    """

    request_id: str
    method: str
    began: float = field(default_factory=time.perf_counter)
    began_ns: int = field(default_factory=time.time_ns)
    ended: float = 0.0
    route: str = NO_NAME
    searches: bool = False
    gallery: str | None = None
    key: str | None = None
    status: int = CLIENT_HAS_GONE
    problem: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    stages: list[tuple[Stage, float, float]] = field(default_factory=list)
    index: str | None = None
    trace_id: str | None = None

    def note(self, stage: Stage, began: float, ended: float) -> None:
        """Note that a stage of the search took from `began` to `ended`."""
        self.stages.append((stage, began, ended))

    def epoch_ns(self, moment: float) -> int:
        """Convert a time of `time.perf_counter` to nanoseconds since 1970."""
        return self.began_ns + int(1e9 * (moment - self.began))

    def timing(self, now: float) -> str:
        """The header Server-Timing: milliseconds of each stage, and in total until `now`."""
        total: tuple[str, float, float] = ("total", self.began, now)
        return ", ".join(f"{name};dur={1000 * (ended - began):.2f}" for name, began, ended in (*self.stages, total))
