"""Commands that fail, for the tests of the command line."""

from __future__ import annotations


def fail() -> None:
    raise RuntimeError("two\nlines")


def stop() -> None:
    raise KeyboardInterrupt
