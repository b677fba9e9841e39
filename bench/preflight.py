"""What would spoil a run before it begins: power source, low-power mode, heat, neighbours, swap, displays. Pure.

Warnings are said before a run and refuse it with ``--strict``; notes are only said. What is unknown warns of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: More than this share of the cores busy on average over the last minute, and somebody else is at work.
LOAD_SHARE = 0.3
#: Pages that move to or from swap faster than this: memory is short now. What merely lies there says nothing of now:
#: macOS leaves it there for days.
SWAP_BYTES_PER_S = 2**20
#: Swap that holds this share of the memory is worth a note.
SWAP_SHARE = 0.1


@dataclass(frozen=True)
class Preflight:
    """Sentences for people. ``warnings`` change figures; ``notes`` are worth knowing.

    ``passing``: those of the warnings that end by themselves within minutes, such as the load of what ran just before.
    """

    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    passing: tuple[str, ...] = ()

    @property
    def may_pass(self) -> bool:
        """Whether waiting may help: there are warnings, and all of them pass."""
        return bool(self.warnings) and self.warnings == self.passing


def check(facts: Mapping[str, Any], power: Mapping[str, Any], swapped_bytes_per_s: float | None = None) -> Preflight:
    """Judge ``machine.facts()``, ``machine.power()`` and what moved between two readings of ``swapped_bytes``."""
    passing = tuple(filter(None, (_load(facts, power), _swapping(swapped_bytes_per_s))))
    found = [_source(power), _heat(power), *passing]
    if facts.get("translated"):
        found.append("this Python runs under Rosetta: install one for arm64, nothing measured here means anything")
    notes = [note] if (note := _swapped(facts, power)) else []
    if facts.get("virtualised"):
        notes.append("this is a virtual machine: its clocks and neighbours are not in your hands")
    governor = power.get("governor")
    if governor is not None and "powersave" in str(governor):
        notes.append(f"the cpufreq governor is {governor}: clocks may rise late")
    displays = facts.get("displays")
    if displays:
        notes.append(f"the GPU drives {displays} display{'s' if displays > 1 else ''}: what moves there shares it")
    return Preflight(tuple(sentence for one in found for sentence in one.splitlines()), tuple(notes), passing)


def _source(power: Mapping[str, Any]) -> str:
    said = []
    if power.get("ac") is False:
        said.append("this machine runs on its battery: plug it in")
    if power.get("low_power_mode"):
        said.append("Low Power Mode is on: turn it off")
    return "\n".join(said)


def _heat(power: Mapping[str, Any]) -> str:
    state, limit = power.get("thermal_state"), power.get("thermal_pressure")
    if state not in (None, "nominal"):
        return f"the thermal state is {state}: let the machine cool down"
    if limit is not None and limit < 100:
        return f"the system limits the CPU to {limit} % of its speed: let the machine cool down"
    return ""


def _load(facts: Mapping[str, Any], power: Mapping[str, Any]) -> str:
    load, cores = power.get("load_1min"), facts.get("usable_cores") or facts.get("logical_cores")
    if load is None or not cores or load <= LOAD_SHARE * cores:
        return ""
    return f"others are at work: a load of {load:.1f} on {cores:g} cores over the last minute"


def _swapping(bytes_per_s: float | None) -> str:
    if bytes_per_s is None or bytes_per_s <= SWAP_BYTES_PER_S:
        return ""
    return f"{bytes_per_s / 2**20:.1f} MiB/s are being swapped: close what needs the memory"


def _swapped(facts: Mapping[str, Any], power: Mapping[str, Any]) -> str:
    used, memory = power.get("swap_used_bytes"), facts.get("memory_bytes")
    if used is None or not memory or used <= SWAP_SHARE * memory:
        return ""
    return f"{used / 2**30:.1f} GiB are swapped out"
