"""One core for both sides of a comparison on one thread. Linux; macOS has no call that keeps a thread on a core.

What a core is worth changes many times a second where the machine's owner has sold its other half to somebody else, or
where its clock follows its own temperature, and no clock of this machine shows it. Two processes that take turns on
one core meet the same; on two cores each meets its own. What that gained stands in ``docs/statistics.md``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PROC, DEVICES = Path("/proc"), Path("/sys/devices")


def usable_cpus() -> list[int]:
    """The CPUs that this process may run on, ascending; none where the system cannot keep a process on one.

    Where there are slower kinds of core (of Intel's hybrid processors, or on Arm), the fastest kind alone.
    """
    if sys.platform != "linux":
        return []
    return fastest(sorted(os.sched_getaffinity(0)))


def fastest(cpus: Sequence[int], devices: Path = DEVICES) -> list[int]:
    """Those of ``cpus`` that are no slower kind of core than the others, as far as the system says."""
    with contextlib.suppress(OSError, ValueError):
        performance = _numbers((devices / "cpu_core" / "cpus").read_text())
        return [cpu for cpu in cpus if cpu in performance] or list(cpus)
    with contextlib.suppress(OSError, ValueError):
        capacity = {cpu: int((devices / f"system/cpu/cpu{cpu}/cpu_capacity").read_text()) for cpu in cpus}
        return [cpu for cpu in cpus if capacity[cpu] == max(capacity.values())]
    return list(cpus)


def _numbers(text: str) -> set[int]:
    """Of the kernel's lists, such as ``0-7,16``."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


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
