"""Facts from sysctl, sw_vers, pmset and system_profiler, as METAL.md lists them; no sudo.

Written from those programs' documentation and from public output; nothing here has run on a Mac so far. So every answer
is parsed as if it were garbage: a missing program, key or number gives None.
"""

from __future__ import annotations

import importlib
import json
import platform
import re
from typing import Any

from bench.machine.command import Runner

#: sysctl hw.optional.arm.FEAT_<name> -> the word recorded (Linux's names where there is one).
ARM_FEATURES = {
    "FEAT_FP16": "asimdhp",
    "FEAT_DotProd": "asimddp",
    "FEAT_BF16": "bf16",
    "FEAT_I8MM": "i8mm",
    "FEAT_SME": "sme",
    "FEAT_SME2": "sme2",
}


def facts(runner: Runner) -> dict[str, Any]:
    """See ``bench.machine.FACTS``; a key is None where the system does not say."""
    translated = _flag(_sysctl(runner, "sysctl.proc_translated"))
    gpu, gpu_cores, displays = _gpu(runner)
    hypervisor = _flag(_sysctl(runner, "kern.hv_vmm_present"))
    # A hosted runner's GPU calls itself "Apple Paravirtual device".
    virtualised = True if gpu is not None and "paravirtual" in gpu.lower() else hypervisor
    return {
        "os_version": _os_version(runner),
        "architecture": "arm64" if translated else platform.machine(),
        "model": _sysctl(runner, "hw.model"),
        "chip": _sysctl(runner, "machdep.cpu.brand_string"),
        "physical_cores": _number(_sysctl(runner, "hw.physicalcpu")),
        "logical_cores": _number(_sysctl(runner, "hw.logicalcpu")),
        "usable_cores": _usable_cores(runner),
        "core_levels": _core_levels(runner),
        "memory_bytes": _number(_sysctl(runner, "hw.memsize")),
        "simd": _simd(runner),
        "virtualised": virtualised,
        "translated": translated,
        "gpu": gpu,
        "gpu_cores": gpu_cores,
        "displays": displays,
    }


def power(runner: Runner) -> dict[str, Any]:
    """See ``bench.machine.POWER``; a key is None where the system does not say."""
    return {
        "ac": _on_mains(runner(["pmset", "-g", "batt"])),
        "low_power_mode": _low_power_mode(runner(["pmset", "-g"])),
        "thermal_pressure": _cpu_speed_limit(runner(["pmset", "-g", "therm"])),
    } | {name: value for name, value in _process_info().items() if value is not None}


def swapped_bytes(runner: Runner) -> int | None:
    """Bytes swapped in and out since boot, from vm_stat's counts of pages."""
    text = runner(["vm_stat"]) or ""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = [re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for name in ("Swapins", "Swapouts")]
    if size is None or None in pages:
        return None
    return int(size[1]) * sum(int(found[1]) for found in pages if found is not None)


#: NSProcessInfo.thermalState, from 0.
THERMAL_STATES = ("nominal", "fair", "serious", "critical")


def _process_info() -> dict[str, Any]:
    """Thermal state and Low Power Mode as Foundation says them, where pyobjc is installed (the extra ``macos``)."""
    try:
        info = importlib.import_module("Foundation").NSProcessInfo.processInfo()
        state, low = info.thermalState(), info.isLowPowerModeEnabled()
    except (ImportError, AttributeError):
        return {}
    known = isinstance(state, int) and 0 <= state < len(THERMAL_STATES)
    return {"thermal_state": THERMAL_STATES[state] if known else None, "low_power_mode": bool(low)}


def _sysctl(runner: Runner, name: str) -> str | None:
    text = runner(["sysctl", "-n", name])
    return text.strip() or None if text is not None else None


def _number(text: object) -> int | None:
    """A positive whole number, given as one or as text; None for anything else: unknown is never 0 or -1."""
    try:
        value = int(str(text).strip())
    except ValueError:
        return None
    return value if value > 0 else None


def _flag(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _usable_cores(runner: Runner) -> float | None:
    """macOS has neither affinity masks nor quotas: all active cores."""
    cores = _number(_sysctl(runner, "hw.activecpu"))
    return float(cores) if cores is not None else None


def _core_levels(runner: Runner) -> list[dict[str, Any]] | None:
    """[{"name": "Performance", "cores": 12}, ...], the fastest first: perflevel0 is it on every chip.

    The names are the system's ("Super" on M5 Pro and Max): nothing is assumed about them.
    """
    count = _number(_sysctl(runner, "hw.nperflevels"))
    # More levels than any chip has means that the answer is garbage, and each level costs two processes.
    if count is None or count > 8:
        return None
    return [
        {
            "name": _sysctl(runner, f"hw.perflevel{level}.name"),
            "cores": _number(_sysctl(runner, f"hw.perflevel{level}.physicalcpu")),
        }
        for level in range(count)
    ]


def _simd(runner: Runner) -> list[str] | None:
    answers = {word: _flag(_sysctl(runner, f"hw.optional.arm.{name}")) for name, word in ARM_FEATURES.items()}
    if all(answer is None for answer in answers.values()):
        return None
    return sorted(word for word, answer in answers.items() if answer)


def _os_version(runner: Runner) -> str | None:
    """``macOS 26.2 (25C56)``; the build matters, regressions came with point releases."""
    version = (runner(["sw_vers", "-productVersion"]) or "").strip()
    build = (runner(["sw_vers", "-buildVersion"]) or "").strip()
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        return None
    return f"macOS {version} ({build})" if re.fullmatch(r"\w+", build) else f"macOS {version}"


def _gpu(runner: Runner) -> tuple[str | None, int | None, int | None]:
    """Name and core count of the first GPU, and how many displays it drives; ``sppci_cores`` is text in the JSON."""
    try:
        displays = json.loads(runner(["system_profiler", "SPDisplaysDataType", "-json"]) or "")["SPDisplaysDataType"]
        first = displays[0]
        name = first.get("sppci_model") or first.get("_name")
    except (ValueError, LookupError, TypeError, AttributeError):
        return None, None, None
    # Absent where no display is attached; a list of them otherwise.
    drawn = first.get("spdisplays_ndrvs", [])
    displays = len(drawn) if isinstance(drawn, list) else None
    return (name if isinstance(name, str) else None), _number(first.get("sppci_cores")), displays


def _on_mains(text: str | None) -> bool | None:
    """``Now drawing from 'AC Power'``."""
    found = re.search(r"drawing from '([^']+)'", text or "")
    return None if found is None else found[1] == "AC Power"


def _low_power_mode(text: str | None) -> bool | None:
    """``lowpowermode 1`` on older, ``powermode 1`` on newer systems (0 automatic, 1 low, 2 high)."""
    found = re.search(r"^\s*(?:low)?powermode\s+(\d)\s*$", text or "", re.MULTILINE)
    return None if found is None else found[1] == "1"


def _cpu_speed_limit(text: str | None) -> int | None:
    """``CPU_Speed_Limit = 100``; Apple silicon mostly prints that no warning has been recorded, which is unknown."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text or "")
    return None if found is None else _number(found[1])
