"""Build in a child process at low priority: searches keep their core, and a build can be stopped at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from askew_client.errors import sentence_of
from askew_server.index.build import ReportProgress, build_main
from askew_server.index.port import BuildCancelled, BuildFailed, VectorSource
from askew_server.index.types import CodedKind
from askew_server.processes import ChildLost, ChildStopped, LimitExceeded, Limits, Say, run_in_child

BUILD_LIMITS = Limits(seconds=24 * 3_600)
"""What a build may use: 1,000,000 items of 2,048 values take minutes. Its memory is estimated before it begins."""


def build_in_child(
    source: VectorSource,
    folder: Path,
    kind: CodedKind,
    report: ReportProgress,
    cancelled: Callable[[], bool],
    limits: Limits = BUILD_LIMITS,
) -> None:
    """Build a main segment of `source` into `folder`, and wait for it; `open_main` opens it afterwards.

    Blocks the calling thread, which also calls `report`. Raises BuildCancelled soon after `cancelled()` is true, and
    BuildFailed with the child's error message, or if it used more than the limits. A child killed at any point leaves only a folder that no record names.
    """
    try:
        run_in_child(_build, report, cancelled, limits, source, folder, kind)
    except ChildStopped:
        raise BuildCancelled("The build was cancelled. The index is as it was before.") from None
    except LimitExceeded as error:
        raise BuildFailed(
            f"The build was stopped: {error.what}, which is the most that it may. The older index is still used. Build it "
            "again when the machine has less to do; the server's setting build_seconds allows more."
        ) from None
    except ChildLost:
        raise BuildFailed(
            "The process that built the index was ended by the system, perhaps for lack of memory. The older index "
            "is still used."
        ) from None
    except Exception as error:
        raise BuildFailed(sentence_of(error)) from error


def _build(say: Say, source: VectorSource, folder: Path, kind: CodedKind) -> None:
    build_main(source, folder, kind, say)
