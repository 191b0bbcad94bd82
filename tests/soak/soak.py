"""All long tests of what a server must survive, one part after another, with a summary. `make soak` runs it.

    python tests/soak/soak.py [--kills 100] [--minutes 30] [--bodies 10000] [--examples 50] [--seeds 5] [--seed 1]

A part whose option is 0 is skipped. The exit code is 0 if every part passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1]
FAULTS = ("server/storage/test_full_disk.py", "crash/test_clock.py", "crash/test_kill.py")
"""Full disk, read-only disk, clocks that jump, snapshots and builds that are killed: the same tests as in `make test`."""
DAMAGE = "crash/test_damage.py"
"""Flipped bits in every file: the same test as in `make test`, repeated with other seeds."""


@dataclass(frozen=True)
class Part:
    """One command, and the name of what it tests."""

    name: str
    command: list[str | Path]
    environment: dict[str, str] = field(default_factory=dict)

    def run(self) -> tuple[bool, float]:
        """Run it; returns whether it passed, and the seconds it took."""
        print(f"\n=== {self.name}\n", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *map(str, self.command)], check=False, env={**os.environ, **self.environment}
        )
        return done.returncode == 0, time.monotonic() - began


def parts(options: argparse.Namespace) -> list[Part]:
    """The parts to run, short ones first."""
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    wanted: list[tuple[int | float, Part]] = [
        (
            options.examples,
            Part(
                f"schemathesis on the whole OpenAPI document, {options.examples} examples of each call",
                [TESTS / "soak/schema.py", "--examples", str(options.examples), "--seed", str(options.seed)],
            ),
        ),
        (
            options.bodies,
            Part(
                f"{options.bodies} hostile bodies for each decoder",
                [TESTS / "soak/hostile_bodies.py", "--count", str(options.bodies), "--seed", str(options.seed)],
            ),
        ),
        (
            options.seeds,
            Part(
                "2,000 examples for each property of a loss",
                [*pytest, TESTS / "training/losses"],
                {"ASKEW_EXAMPLES": "2000"},
            ),
        ),
        (
            options.seeds,
            Part(
                "full disk, read-only disk, clocks that jump, kills at chosen moments",
                [*pytest, *(TESTS / file for file in FAULTS)],
            ),
        ),
        *(
            (
                1,
                Part(f"flipped bits, seed {seed}", [*pytest, TESTS / DAMAGE], {"SOAK_SEED": str(seed)}),
            )
            for seed in range(options.seed, options.seed + options.seeds)
        ),
        (
            options.kills,
            Part(
                f"kill -9 under a mixed load, {options.kills} times",
                [TESTS / "crash/mixed_load.py", "--kills", str(options.kills), "--seed", str(options.seed)],
            ),
        ),
        (
            options.minutes,
            Part(
                f"twice the sustainable load for {options.minutes:g} minutes",
                [TESTS / "soak/overload.py", "--minutes", str(options.minutes)],
            ),
        ),
    ]
    return [part for amount, part in wanted if amount]


def main() -> int:
    """Run all parts and print the summary; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    results = [(part.name, *part.run()) for part in parts(parser.parse_args())]
    print("\n=== Summary\n")
    for name, passed, seconds in results:
        print(f"{'passed' if passed else 'FAILED'}  {seconds:6.0f} s  {name}")
    return 0 if all(passed for _, passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
