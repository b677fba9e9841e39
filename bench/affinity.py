"""One core for both sides of a comparison on one thread. Linux; macOS has no call that keeps a thread on a core.

What a core is worth changes many times a second where the machine's owner has sold its other half to somebody else, or
where its clock follows its own temperature, and no clock of this machine shows it. Two processes that take turns on
one core meet the same; on two cores each meets its own. What that gained stands in ``docs/statistics.md``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

PROC = Path("/proc")


def usable_cpus() -> list[int]:
    """The CPUs that this process may run on, ascending; none where the system cannot keep a process on one."""
    if sys.platform != "linux":
        return []
    return sorted(os.sched_getaffinity(0))


def stay_on(pid: int, cpu: int, proc: Path = PROC) -> bool:
    """Keep every thread of a process, and those that they will start, on ``cpu``; False where that was refused."""
    if sys.platform != "linux":
        return False
    moved: set[int] = set()
    with contextlib.suppress(OSError):
        # A thread that was not moved yet may start another one meanwhile: until nobody new is there.
        while fresh := {int(task.name) for task in (proc / str(pid) / "task").iterdir()} - moved:
            for thread in fresh:
                with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                    os.sched_setaffinity(thread, {cpu})
            moved |= fresh
        return True
    return False
