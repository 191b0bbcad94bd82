"""Child processes: low priority, deaf to Ctrl-C, ended with their parent; work done in one, within limits for each task."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import psutil

from askew_client.cores import usable_cores
from askew_client.errors import AskewError, sentence_of

P = ParamSpec("P")
Result = TypeVar("Result")
Say = Callable[[object], None]
"""say(message): sends any picklable object to the parent."""

_NICENESS = 10
_POLL_SECONDS = 0.1
"""How often a task's limits, and whether it is still wanted, are looked at."""
_SECONDS_BETWEEN_FAMILY_COUNTS = 1.0
"""Looking for a child's own children costs a walk through all processes of the system."""
_START_SECONDS = 300.0
"""A new child imports its modules within this time, also on a machine that is far too busy."""
_JOIN_SECONDS = 10.0
_BYTES_AT_ONCE = 32 * 1024
"""A message up to this size fits into the connection, whether or not the child reads it."""
_STACK_AND_HEAP_BYTES = 2 * (8 + 64) * 2**20
"""Address space, not memory, that each of an engine's threads may reserve: its stack, and a heap of its own; twice."""


class ChildStopped(Exception):
    """The work in a child process was stopped because its parent wanted it no more."""


class ChildLost(Exception):
    """The child process ended without an answer: it crashed, or was killed, perhaps for lack of memory."""


@dataclass(frozen=True)
class Limits:
    """What one task may use; a child that exceeds it is killed. None: no limit.

    `seconds`: from its beginning to its answer. `processor_seconds`: of all its threads and child processes together.
    `memory_bytes`: memory of its own, beyond what the child held when the task began. `for_each_message`: the time
    limits begin anew with each message that the child says, for tasks that do one thing after another.
    """

    seconds: float | None = None
    processor_seconds: float | None = None
    memory_bytes: int | None = None
    for_each_message: bool = False


class LimitExceeded(Exception):
    """A task used more than it may, and its child was killed. `what` says that in words; `limits`: those it had."""

    def __init__(self, what: str, limits: Limits) -> None:
        super().__init__(what)
        self.what = what
        self.limits = limits


class Child:
    """One child process that does one task after another. It belongs to one thread."""

    def __init__(self, *, is_batch: bool = True, may_have_children: bool = False) -> None:
        """Start it. `is_batch`: see begin_child. `may_have_children`: its work starts child processes, too."""
        # A forked child would share FAISS's threads and the database's file locks.
        context = multiprocessing.get_context("spawn")
        self._connection, other_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(other_end, is_batch), daemon=not may_have_children)
        self._process.start()
        other_end.close()
        self._sending: threading.Thread | None = None
        self._is_ready = False

    def wait_until_ready(self, is_unwanted: Callable[[], bool]) -> None:
        """Wait until it takes tasks. Raises ChildStopped, LimitExceeded, ChildLost, and then it has ended."""
        if self._is_ready:
            return
        try:
            self._answer(_Meter(None, Limits(seconds=_START_SECONDS)), _ignore, is_unwanted)
        except BaseException:
            self.kill()
            raise
        self._is_ready = True

    @property
    def is_alive(self) -> bool:
        """Whether it can take another task."""
        return self._process.is_alive()

    def run(
        self,
        work: Callable[..., Result],
        arguments: tuple[object, ...],
        named: dict[str, object],
        *,
        limits: Limits,
        hear: Callable[[Any], None],
        is_unwanted: Callable[[], bool],
    ) -> Result:
        """Call `work(say, *arguments, **named)` in the child and return its result, which is pickled.

        Blocks; the calling thread calls `hear` with what the child says. Raises ChildStopped soon after `is_unwanted()` is
        true, LimitExceeded, ChildLost, what `hear` raises, and then the child has ended; and what `work` raises, or AskewError
        with its sentence if it cannot be pickled.
        """
        self.wait_until_ready(is_unwanted)
        try:
            meter = _Meter(self._process.pid, limits)
            self._send((work, arguments, named), meter, is_unwanted)
            kind, content = self._answer(meter, hear, is_unwanted)
        except BaseException:
            self.kill()
            raise
        if kind == "failed":
            raise cast(Exception, content)
        return cast(Result, content)

    def kill(self) -> None:
        """End it, and what it started, at once."""
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
        self._process.join(_JOIN_SECONDS)
        if self._sending is not None:
            # It fails now, as nobody is left to read.
            self._sending.join(_JOIN_SECONDS)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever it writes is not looked at before it has answered.
        self.kill()

    def _send(self, task: tuple[object, ...], meter: _Meter, is_unwanted: Callable[[], bool]) -> None:
        message = ForkingPickler.dumps(task)
        if len(message) > _BYTES_AT_ONCE:
            sent = self._sent_by_thread(message, meter, is_unwanted)
        else:
            sent = self._write(message)
        if not sent:
            raise self._loss()

    def _sent_by_thread(self, message: memoryview, meter: _Meter, is_unwanted: Callable[[], bool]) -> bool:
        """Whether a message was sent: a child that was stopped, or hangs, reads nothing, and its limits hold all the same."""
        sent: list[bool] = []
        self._sending = threading.Thread(target=lambda: sent.append(self._write(message)), name="send-to-child")
        self._sending.daemon = True
        self._sending.start()
        self._sending.join(_POLL_SECONDS)
        while self._sending.is_alive():
            if is_unwanted():
                raise ChildStopped
            meter.check()
            self._sending.join(_POLL_SECONDS)
        self._sending = None
        return sent == [True]

    def _write(self, message: memoryview) -> bool:
        try:
            self._connection.send_bytes(message)
        except OSError:
            return False
        return True

    def _receive(self) -> tuple[str, object] | None:
        """The next message, if one comes soon."""
        try:
            if not self._connection.poll(_POLL_SECONDS):
                return None
            message: tuple[str, object] = self._connection.recv()
            return message
        except (EOFError, OSError):
            raise self._loss() from None

    def _answer(
        self, meter: _Meter, hear: Callable[[Any], None], is_unwanted: Callable[[], bool]
    ) -> tuple[str, object]:
        """The message that ends a task: its kind and its content."""
        looked = time.monotonic()
        while True:
            message = self._receive()
            if message is not None:
                if message[0] != "said":
                    return message
                hear(message[1])
                meter.hear()
            # Also at a child that says much; and a task that ends soon costs no look.
            if time.monotonic() - looked >= _POLL_SECONDS:
                looked = time.monotonic()
                if is_unwanted():
                    raise ChildStopped
                meter.check()

    def _loss(self) -> ChildLost:
        self._process.join(_JOIN_SECONDS)
        code = self._process.exitcode
        if code is None:
            return ChildLost("it did not answer")
        return ChildLost(f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}")


class _Meter:
    """What one task of a child has used since it began, or since the last message where the limits are for each."""

    def __init__(self, process_id: int | None, limits: Limits) -> None:
        self._limits = limits
        self._process = None
        with contextlib.suppress(psutil.Error):
            self._process = None if process_id is None else psutil.Process(process_id)
        self._descendants_seconds = 0.0
        self._counted = time.monotonic()
        self._memory_before = self._own_bytes()
        self._began, self._processor_before = time.monotonic(), self._processor_seconds()

    def hear(self) -> None:
        """The child has said something."""
        if self._limits.for_each_message:
            self._began, self._processor_before = time.monotonic(), self._processor_seconds()

    def check(self) -> None:
        """Raises LimitExceeded."""
        limits = self._limits
        seconds = time.monotonic() - self._began
        if limits.seconds is not None and seconds > limits.seconds:
            raise LimitExceeded(f"it took more than {limits.seconds:g} s", limits)
        if limits.processor_seconds is not None:
            processor_seconds = self._processor_seconds() - self._processor_before
            if processor_seconds > limits.processor_seconds:
                raise LimitExceeded(f"it used more than {limits.processor_seconds:g} s of processor time", limits)
        if limits.memory_bytes is not None and self._own_bytes() - self._memory_before > limits.memory_bytes:
            raise LimitExceeded(f"it needs more than {limits.memory_bytes / 1e6:,.0f} MB of memory", limits)

    def _processor_seconds(self) -> float:
        """Of the child with all its threads, of its children that ended, and of those that live."""
        if self._process is None:
            return 0.0
        try:
            times = self._process.cpu_times()
            if time.monotonic() - self._counted >= _SECONDS_BETWEEN_FAMILY_COUNTS:
                self._counted = time.monotonic()
                self._descendants_seconds = sum(map(_seconds_of, self._process.children(recursive=True)))
        # It has ended, which the connection tells.
        except psutil.Error:
            return 0.0
        return float(sum(times[:4])) + self._descendants_seconds

    def _own_bytes(self) -> int:
        """The memory of the child alone, without the files that it shares with others."""
        if self._process is None:
            return 0
        try:
            memory = self._process.memory_info()
        except psutil.Error:
            return 0
        return int(memory.rss) - int(getattr(memory, "shared", 0))


def run_in_child(
    work: Callable[Concatenate[Say, P], Result],
    hear: Callable[[Any], None],
    cancelled: Callable[[], bool],
    limits: Limits,
    /,
    *arguments: P.args,
    **named: P.kwargs,
) -> Result:
    """Call `work(say, *arguments)` in a child process at low priority, which ends with it. See Child.run."""
    if cancelled():
        raise ChildStopped
    with Child() as child:
        return child.run(work, arguments, named, limits=limits, hear=hear, is_unwanted=cancelled)


@contextlib.contextmanager
def bounded_address_space(memory_bytes: int | None) -> Iterator[None]:
    """Let this process reserve at most this much more address space inside the block, so that allocations fail cleanly.

    The limit is moved for each block: it counts from what the process has now, plus what its threads may reserve without
    using it. None: no limit. Not for processes that use CUDA, which reserves as much address space as there is memory.
    """
    if memory_bytes is None:
        yield
        return
    before, highest = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + memory_bytes + usable_cores() * _STACK_AND_HEAP_BYTES
    if highest != resource.RLIM_INFINITY:
        wanted = min(wanted, highest)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, highest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, highest))


def begin_child(niceness: int, *, is_batch: bool = False) -> None:
    """Set up this child process. `is_batch`: also use batch scheduling and idle disk priority.

    A child still makes progress on a busy server.
    """
    # Ctrl-C reaches the whole process group; the parent decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):
        os.nice(niceness)
    # Where the whole system runs out of memory, it ends this process and not the server.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    if not is_batch:
        return
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(psutil.Error, OSError, AttributeError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def _end_with_parent() -> None:
    """End this process once its parent has ended: otherwise the child of a killed parent would run or wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _serve(parent: connection.Connection, is_batch: bool) -> None:
    """The child's life: one task after another, until the parent closes the connection."""
    begin_child(_NICENESS, is_batch=is_batch)
    parent.send(("ready", None))
    while True:
        try:
            task = parent.recv_bytes()
        except EOFError:
            return
        try:
            work, arguments, named = pickle.loads(task)
            del task
            result = work(lambda message: parent.send(("said", message)), *arguments, **named)
            parent.send(("done", result))
            del work, arguments, named, result
        except Exception as error:  # noqa: BLE001
            # A traceback is not pickled. As a note it reaches the parent's log, and no message to a user.
            place = "".join(traceback.format_exception(error))
            failed = _picklable(error)
            failed.add_note(place)
            parent.send(("failed", failed))


def _ignore(_: object) -> None:
    """What a child says before it has a task, which is nothing."""


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001
        return AskewError(sentence_of(error))
    return error


def _seconds_of(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0
