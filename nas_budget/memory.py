"""How much memory this process may still take: of the machine, and of the limits that are set on the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of groups of processes. Containers, SLURM and Kubernetes set them."""
OF_PROCESS = Path("/proc/self/cgroup")
FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
"""Limit and use of a group, in version 2 and in version 1 of these groups."""
CACHES = ("inactive_file ", "total_inactive_file ")
"""What counts as used and is given up at once when it is asked for: files that were read."""


def free_bytes() -> int:
    """Bytes that this process may still take before the machine, its container or its `ulimit` refuses them.

    Examples:
        >>> 0 < free_bytes() <= psutil.virtual_memory().total
        True
    """
    return max(0, min([psutil.virtual_memory().available, *_left_of_groups(), *_left_of_process()]))


def _left_of_groups() -> Iterator[int]:
    """What each group of processes that this one is in may still take, where it is limited."""
    try:
        lines = OF_PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in FILES:
                root = CGROUPS / controller
                inside = root / path.strip("/")
                # A container sees its own group as the root, though the path is the one outside.
                for group in inside, *inside.parents, root:
                    if group.is_relative_to(root) and (left := _left_of_group(group, *FILES[controller])) is not None:
                        yield left


def _left_of_group(group: Path, limit_file: str, used_file: str) -> int | None:
    try:
        limit, used = (group / limit_file).read_text().strip(), int((group / used_file).read_text())
        if not limit.isdecimal():
            return None
        cached = [int(line.split()[1]) for line in (group / "memory.stat").read_text().splitlines() if _is_cache(line)]
    except (OSError, ValueError):
        return None
    return int(limit) - used + max(cached, default=0)


def _is_cache(line: str) -> bool:
    return line.startswith(CACHES)


def _left_of_process() -> Iterator[int]:
    """What the limits of this process, such as those of `ulimit -v` and `ulimit -d`, leave."""
    try:
        import resource
    except ImportError:  # on Windows there are none
        return
    used = psutil.Process().memory_info()
    for name, taken in ("RLIMIT_AS", used.vms), ("RLIMIT_DATA", getattr(used, "data", used.vms)):
        limit, _ = resource.getrlimit(getattr(resource, name))
        if limit != resource.RLIM_INFINITY:
            yield limit - taken
