"""Facts about the host, its power and its load. Every fact may be None, and nothing here may stop a run.

``facts`` is what stays the same during a run and says on what machine a figure was taken; ``power`` is what changes and
is asked before and after each block. Keys and units are the same on every system (``FACTS`` and ``POWER``); the full
host name is never recorded, only a short hash, so that records of one machine can be told from those of another.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

from bench.machine import linux, macos
from bench.machine.command import Runner, run

#: Keys of ``facts``: each is there on every system, None where unknown.
FACTS = (
    "host",  # first 8 hex digits of the SHA-256 of the host name
    "system",  # "Linux", "Darwin"
    "os_version",  # what people call it: "Debian GNU/Linux 12 (bookworm)", "macOS 26.2 (25C56)"
    "kernel",
    "architecture",  # "x86_64", "arm64"; the machine's, also under Rosetta
    "model",  # "Mac16,5", or the DMI product name
    "chip",  # "Apple M4 Max", "AMD EPYC 7763 64-Core Processor"
    "physical_cores",
    "logical_cores",
    "usable_cores",  # float: what affinity and the cgroup's quota leave
    "core_levels",  # [{"name", "cores"}], fastest first, where the system names them
    "memory_bytes",
    "simd",  # the instruction sets that matter for low precision, sorted
    "virtualised",
    "translated",  # Rosetta: this Python is x86_64 on an arm64 Mac
    "gpu",
    "gpu_cores",
    "driver",  # version of NVIDIA's kernel module; None on a Mac, where it is part of the system
    "displays",  # how many displays the GPUs drive; 0: none is lit
)
#: Keys of ``power``.
POWER = (
    "ac",  # bool: on mains
    "low_power_mode",
    "governor",  # Linux cpufreq
    "thermal_pressure",  # macOS: percentage to which the CPU's speed is limited, 100 = not
    "thermal_state",  # macOS: "nominal", "fair", "serious", "critical" (NSProcessInfo; needs pyobjc)
    "throttle_count",  # Linux: thermal throttle events since boot, all cores
    "load_1min",
    "swap_used_bytes",
)


def facts(runner: Runner = run) -> dict[str, Any]:
    """What machine this is; the keys are ``FACTS``. Takes up to a second on macOS (system_profiler)."""
    known = {
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:8],
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    known |= {key: value for key, value in _system().facts(runner).items() if value is not None}
    return {key: known.get(key) for key in FACTS}


def power(runner: Runner = run) -> dict[str, Any]:
    """What may slow this machine down right now; the keys are ``POWER``. Under 0.1 s."""
    known: dict[str, Any] = {"load_1min": _load(), "swap_used_bytes": _swap_used_bytes()}
    known |= _system().power(runner)
    return {key: known.get(key) for key in POWER}


def swapped_bytes(runner: Runner = run) -> int | None:
    """Bytes moved to and from swap since boot; None where unknown. Two readings tell whether memory is short now."""
    if sys.platform == "darwin":  # psutil's counters there hold every page that is read from a file, too
        return macos.swapped_bytes(runner)
    try:
        memory = psutil.swap_memory()
        return int(memory.sin) + int(memory.sout)
    except (OSError, RuntimeError, psutil.Error):
        return None


def cpu_busy_ns() -> int:
    """CPU time used by everybody on this machine since boot, all cores, hypervisor steal included, in ns.

    Its resolution is the kernel's clock tick (10 ms a core on most Linux kernels): for bursts of 50 ms and more.
    """
    times = psutil.cpu_times()
    # On Linux guest time is part of user already. irq, softirq and steal do not exist on macOS.
    fields = ("user", "nice", "system", "irq", "softirq", "steal")
    return round(sum(getattr(times, field, 0.0) for field in fields) * 1e9)


def git_revision(root: Path) -> str | None:
    """``git describe``-like: the full commit, ``+dirty`` behind it when tracked files differ; None outside a checkout.

    A folder that only lies inside somebody else's checkout (a wheel in a venv in a repository) is not one.
    """
    if not (root / ".git").exists():
        return None
    commit = run(["git", "-C", str(root), "rev-parse", "HEAD"])
    status = run(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    if commit is None or status is None:
        return None
    return commit.strip() + ("+dirty" if status.strip() else "")


def _system() -> Any:
    return macos if sys.platform == "darwin" else linux


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _swap_used_bytes() -> int | None:
    try:
        return int(psutil.swap_memory().used)
    except (OSError, RuntimeError, psutil.Error):
        return None
