"""Facts from /proc and /sys. ``root`` stands for ``/`` so that tests can lay out machines of their own."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from bench.machine.command import Runner

#: Instruction sets that decide how fast low precision is on a CPU (METAL.md: bf16 differs 80-fold), by the kernel's
#: names in /proc/cpuinfo: x86 ``flags``, then arm64 ``Features``.
SIMD = frozenset(
    {
        "sse4_2", "f16c", "fma", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
        "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
        "asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm", "svebf16", "sme", "sme2",
    }
)  # fmt: skip


def facts(runner: Runner, root: Path = Path("/")) -> dict[str, Any]:
    """See ``bench.machine.FACTS``; keys that Linux does not know are left out."""
    cpuinfo = _cpuinfo(root)
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return {
        "os_version": _os_release(root),
        "model": _read(root / "sys/class/dmi/id/product_name"),
        "chip": cpuinfo.get("model name") or _device_tree_model(root),
        "usable_cores": usable_cores(root),
        "simd": sorted(flags & SIMD) if flags else None,
        "virtualised": _virtualised(flags, root) if flags else None,
        "gpu": _gpu(runner, root),
        "driver": _driver(root),
        "displays": _displays(root),
    }


def power(runner: Runner, root: Path = Path("/")) -> dict[str, Any]:
    """See ``bench.machine.POWER``; keys that Linux does not know are left out."""
    return {"ac": _on_mains(root), "governor": _governor(root), "throttle_count": _throttle_count(root)}


def usable_cores(root: Path = Path("/")) -> float | None:
    """Cores that this process may keep busy: the affinity mask, or the cgroup's CPU quota where that is less."""
    try:
        cores = float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return None
    quota = _cgroup_quota_cores(root)
    return cores if quota is None else min(cores, quota)


def _cgroup_quota_cores(root: Path) -> float | None:
    """The smallest quota on the way from this process's cgroup up (version 2, else version 1), in cores."""
    groups = [line.split(":", 2) for line in (_read(root / "proc/self/cgroup") or "").splitlines()]
    unified = [path for number, controllers, path in (g for g in groups if len(g) == 3) if not controllers]
    quotas = []
    for path in unified or ["/"]:
        for folder in (Path(path), *Path(path).parents):
            text = _read(root / "sys/fs/cgroup" / str(folder).lstrip("/") / "cpu.max")
            quota, _, period = (text or "max").partition(" ")
            quotas.append(_ratio(quota, period))
    first_version = root / "sys/fs/cgroup/cpu"
    quotas.append(_ratio(_read(first_version / "cpu.cfs_quota_us"), _read(first_version / "cpu.cfs_period_us")))
    return min((quota for quota in quotas if quota is not None), default=None)


def _ratio(quota: str | None, period: str | None) -> float | None:
    """quota / period; None for "max", for -1 (version 1's "none") and for anything that is not two positive numbers."""
    try:
        above, below = float(quota or ""), float(period or "")
    except ValueError:
        return None
    if not (math.isfinite(above) and math.isfinite(below)) or above <= 0 or below <= 0:
        return None
    return above / below


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    block = (_read(root / "proc/cpuinfo") or "").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _device_tree_model(root: Path) -> str | None:
    """Boards without a "model name" (most arm64) say what they are here, with a NUL at the end."""
    text = _read(root / "proc/device-tree/model")
    return text.rstrip("\0") if text else None


def _os_release(root: Path) -> str | None:
    for line in (_read(root / "etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'") or None
    return None


def _virtualised(flags: set[str], root: Path) -> bool:
    """x86 guests show a CPUID bit; others (arm64, gVisor) are known by the hypervisor's own file only."""
    return "hypervisor" in flags or (root / "sys/hypervisor/type").exists()


def _gpu(runner: Runner, root: Path) -> str | None:
    """NVIDIA only; names of all GPUs, joined. The driver's file is looked for first: nvidia-smi is slow to fail."""
    if not any((root / "dev" / name).exists() for name in ("nvidia0", "nvidiactl")):
        return None
    names = (runner(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]) or "").split("\n")
    return ", ".join(name.strip() for name in names if name.strip()) or None


def _driver(root: Path) -> str | None:
    """NVIDIA's kernel module: the number in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..."."""
    words = (_read(root / "proc/driver/nvidia/version") or "").split()
    numbers = (word for word in words if word.replace(".", "").isdecimal() and "." in word)
    return next(numbers, None)


def _on_mains(root: Path) -> bool | None:
    """True when any mains supply is online; False when all are offline; None where there is none (servers, guests)."""
    online = [
        _read(supply / "online")
        for supply in _children(root / "sys/class/power_supply")
        if _read(supply / "type") in ("Mains", "USB")
    ]
    known = [state == "1" for state in online if state in ("0", "1")]
    return any(known) if known else None


def _governor(root: Path) -> str | None:
    """The cpufreq governors in use, joined when cores differ."""
    found = {_read(cpu / "cpufreq/scaling_governor") for cpu in _cpus(root)}
    return ", ".join(sorted(name for name in found if name)) or None


def _throttle_count(root: Path) -> int | None:
    counts = [_read(cpu / "thermal_throttle/core_throttle_count") for cpu in _cpus(root)]
    known = [int(count) for count in counts if count and count.isdecimal()]
    return sum(known) if known else None


def _displays(root: Path) -> int | None:
    """Connectors of graphics cards on which a display is lit; None where no card shows any (servers, guests)."""
    connectors = [folder for folder in _children(root / "sys/class/drm") if (folder / "enabled").exists()]
    lit = [_read(folder / "enabled") == "enabled" for folder in connectors]
    return sum(lit) if lit else None


def _cpus(root: Path) -> list[Path]:
    folders = _children(root / "sys/devices/system/cpu")
    return [folder for folder in folders if folder.name.startswith("cpu") and folder.name[3:].isdecimal()]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str | None:
    """The stripped text of a small file, or None: in /proc and /sys any file can be missing, forbidden or empty."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
