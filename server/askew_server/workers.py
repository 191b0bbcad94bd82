"""A queue of tasks, and the child processes that do them: a task that hangs or crashes costs no other task its answer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from askew_server.processes import Child, ChildLost, ChildStopped, Limits, Say

P = ParamSpec("P")
Result = TypeVar("Result")

PATIENCE_SECONDS = 1.0
"""Behind a task that runs for longer, another child does the next one."""
ABANDONED_SECONDS = 3.0
"""A task that nobody waits for any more may run for so long: ending it sooner would cost a new child, and its engine."""
_IDLE_SECONDS = 20.0
"""How long further children wait for another task: each holds an engine in memory."""


@dataclass
class _Task(Generic[Result]):
    """`tries`: how often it may be begun, where its child is lost. `future` stays pending, so that it can be cancelled."""

    work: Callable[..., Result]
    arguments: tuple[object, ...]
    named: dict[str, object]
    limits: Limits
    group: str
    tries: int
    hear: Callable[[Any], None]
    future: Future[Result] = field(default_factory=Future)
    began: float = 0.0


class Workers:
    """Child processes at low priority that do the tasks of one queue, each one at a time. Safe to use from any thread.

    One child does them all unless a task takes long: then further ones are started, up to `most`. No group of tasks
    holds all children, so that the slow tasks of one group leave a child to the others. Cancelling a future drops its
    task, or kills its child once it has run for ABANDONED_SECONDS.
    """

    def __init__(self, name: str, *, most: int = 1, is_batch: bool = False) -> None:
        """`name`: of its threads. `most`: children at once. `is_batch`: see processes.begin_child."""
        self._name = name
        self._most = most
        self._is_batch = is_batch
        self._waiting: list[_Task[Any]] = []
        self._running: list[_Task[Any]] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(
        self,
        work: Callable[Concatenate[Say, P], Result],
        limits: Limits,
        group: str,
        tries: int,
        hear: Callable[[Any], None],
        /,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> Future[Result]:
        """Queue `work(say, *arguments)`. `group`: such as the gallery that it is for. `hear`: called with what it says.

        The future raises LimitExceeded, ChildLost once `tries` children were lost, ChildStopped if this is closed, and what
        the work raises.
        """
        task = _Task(work, arguments, named, limits, group, tries, hear)
        with self._changed:
            if self._closed:
                raise ChildStopped
            # Before the task is queued: if the system has no thread left, that is the caller's error, and nothing waits.
            if not self._threads:
                self._start_thread()
            self._waiting.append(task)
            self._changed.notify()
        return task.future

    def close(self) -> None:
        """End the children at once, also those that are at work. Unfinished tasks raise ChildStopped."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
            threads = list(self._threads)
        for task in waiting:
            _fail(task, ChildStopped())
        for thread in threads:
            thread.join()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        # A thread that did not start must not be counted. It looks at the list only once the caller lets go of the lock.
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        child: Child | None = None
        try:
            while (task := self._next()) is not None:
                if child is not None and not child.is_alive:
                    child.kill()
                    child = None
                try:
                    if child is None:
                        child = Child(is_batch=self._is_batch)
                    self._do(child, task)
                # The system may have no memory, thread or process left for another child. Whatever it says, this thread must
                # go on: the queue has no other one.
                except Exception as error:  # noqa: BLE001
                    _fail(task, error)
                finally:
                    with self._changed:
                        self._running.remove(task)
                        self._changed.notify()
        finally:
            if child is not None:
                child.kill()

    def _next(self) -> _Task[Any] | None:
        """The next task, once there is one; None when this thread should end."""
        with self._changed:
            while not self._closed:
                task = self._choose()
                if task is not None:
                    self._waiting.remove(task)
                    self._running.append(task)
                    return task
                is_first = self._threads[0] is threading.current_thread()
                self._idle += 1
                woken = self._changed.wait(None if is_first else _IDLE_SECONDS)
                self._idle -= 1
                # It may have been woken for a task just as its patience ended, and nobody else is.
                if not woken and self._choose() is None:
                    self._threads.remove(threading.current_thread())
                    return None
        return None

    def _choose(self) -> _Task[Any] | None:
        """The waiting task that came first, of those groups that have the fewest running."""
        self._waiting = [task for task in self._waiting if not task.future.cancelled()]
        running = Counter(task.group for task in self._running)
        most = max(1, self._most - 1)
        allowed = [task for task in self._waiting if running[task.group] < most]
        return min(allowed, key=lambda task: running[task.group], default=None)

    def _do(self, child: Child, task: _Task[Any]) -> None:
        try:
            child.wait_until_ready(lambda: self._closed)
            task.began = time.monotonic()
            result = child.run(
                task.work,
                task.arguments,
                task.named,
                limits=task.limits,
                hear=task.hear,
                is_unwanted=lambda: self._look_at(task),
            )
        except ChildLost as error:
            task.tries -= 1
            with self._changed:
                if task.tries > 0 and not self._closed:
                    self._waiting.insert(0, task)
                    return
            _fail(task, error)
        except Exception as error:  # noqa: BLE001
            _fail(task, error)
        else:
            if task.future.set_running_or_notify_cancel():
                task.future.set_result(result)

    def _look_at(self, task: _Task[Any]) -> bool:
        """Called ten times a second while a task runs: whether nobody wants it. Gets help for the tasks behind a long one."""
        seconds = time.monotonic() - task.began
        if seconds > PATIENCE_SECONDS:
            with self._changed:
                if not self._idle and len(self._threads) < self._most and self._choose() is not None:
                    # Without help the tasks behind this one wait for it; it is none of its business.
                    with contextlib.suppress(RuntimeError):
                        self._start_thread()
        return self._closed or (seconds > ABANDONED_SECONDS and task.future.cancelled())


def _fail(task: _Task[Any], error: Exception) -> None:
    if task.future.set_running_or_notify_cancel():
        task.future.set_exception(error)
