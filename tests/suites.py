"""Runs the suites of `make test` one after the other, and prints what each cost.

    python tests/suites.py [--fast]

`--fast`: only the fast tests, within 90 seconds. Exit code: that of the first suite that failed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
WORKERS = ("--numprocesses", "2", "--dist", "worksteal")


@dataclass(frozen=True)
class Suite:
    """Some of the tests, and how pytest runs them. `is_budgeted`: its cost counts against the budget of the suite."""

    name: str
    arguments: tuple[str, ...]
    is_budgeted: bool = True


# Each process computes on one thread: the suite has one process for each core.
PARALLEL = Suite(
    "pytest with its children", ("-m", "not browser and not alone and not installs and not drill", *WORKERS)
)
ALONE = Suite("tests that compare times", ("-m", "alone", "tests/soak"))
INSTALLS = Suite("installs", ("-m", "installs and not drill", "tests/deploy"), is_budgeted=False)
_OF_WHOLE_PROCESSES = tuple(
    f"--ignore=tests/{folder}" for folder in ("browser", "crash", "deploy", "end_to_end", "soak")
)
FAST = Suite("fast tests", ("-m", "not alone and not slow and not drill", *_OF_WHOLE_PROCESSES, *WORKERS))


def run_suite(suite: Suite) -> tuple[int, float, float]:
    """Run a suite: its exit code, seconds of processor time with all its children, and seconds of wall time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "pytest", *suite.arguments]
    done = subprocess.run(command, cwd=TESTS.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, processor, time.monotonic() - began


def readable(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds // 60)} min {seconds % 60:02.0f} s"


def main() -> int:
    """Run it from a command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true")
    suites = [FAST] if parser.parse_args().fast else [PARALLEL, ALONE, INSTALLS]
    costs: list[tuple[Suite, float, float]] = []
    code = 0
    for suite in suites:
        code, processor, wall = run_suite(suite)
        costs.append((suite, processor, wall))
        if code != 0:
            break
    for suite, processor, wall in costs:
        print(f"{suite.name}: {readable(processor)} of processor time, {readable(wall)} of wall time")
    budgeted = [(processor, wall) for suite, processor, wall in costs if suite.is_budgeted]
    if len(budgeted) > 1:
        processor, wall = map(sum, zip(*budgeted, strict=True))
        print(f"without installs: {readable(processor)} of processor time, {readable(wall)} of wall time")
    return code


if __name__ == "__main__":
    sys.exit(main())
