"""How many processor cores this process may use: workers beyond that cost memory and are throttled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_CPU_FOLDERS = ("cpu,cpuacct", "cpuacct,cpu", "cpu")
"""Where systems mount the processor controller of cgroup v1."""


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """The processor cores that this process may use, at least 1.

    The smallest of: the machine's cores, the process's affinity (`taskset`, cpusets), and the processor quota of its
    control group and of the groups above it (containers, systemd's CPUQuota), rounded to the nearest core. `cgroups`:
    where control groups are mounted; `membership`: the file that says which are this process's.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    # Not every system has affinities.
    except (AttributeError, OSError):
        cores = os.cpu_count() or 1
    quotas = [quota for folder in _folders(cgroups, membership) if (quota := _quota(folder)) is not None]
    return max(1, min(cores, *(round(quota) for quota in quotas))) if quotas else max(1, cores)


def _folders(cgroups: Path, membership: Path) -> Iterator[Path]:
    """The folders of the process's control groups that may limit processors, from each up to its root."""
    for path in _own_groups(membership):
        within = Path(path.strip("/"))
        for group in (within, *within.parents):
            # A path outside of what is mounted here would lead above the root of the file system of groups.
            if ".." in group.parts:
                continue
            for root in (cgroups, *(cgroups / name for name in _CPU_FOLDERS)):
                yield root / group


def _own_groups(membership: Path) -> set[str]:
    """The paths of the process's groups: of cgroup v2, and of the processor controller of v1. The root is always one."""
    paths = {"/"}
    try:
        lines = membership.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return paths
    for line in lines:
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            paths.add(path)
    return paths


def _quota(group: Path) -> float | None:
    """The cores that one group may use together; None if it sets no limit."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    # "max" is no number: no limit. Otherwise it may be a group of v1.
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        length = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return allowed / length if allowed > 0 and length > 0 else None
