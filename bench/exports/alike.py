"""Which records of a cell may be pooled: those of one machine, one number of threads, one set of versions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.cell import Cell
from bench.record import Fingerprint, Record

#: Facts of the machine that tell two apart.
MACHINE = ("host", "chip", "physical_cores", "gpu", "gpu_cores")


def machine(fingerprint: Fingerprint) -> dict[str, str]:
    """What is known of the machine, as text."""
    known = {name: fingerprint.machine.get(name) for name in MACHINE}
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def facts(fingerprint: Fingerprint) -> dict[str, str]:
    """All that must agree where figures are pooled, as far as it is known."""
    threads = {} if fingerprint.threads is None else {"threads": str(fingerprint.threads)}
    versions = {f"version of {name}": str(version) for name, version in fingerprint.versions.items()}
    return machine(fingerprint) | threads | versions


def differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Facts that are known of both and differ, with both values; what is unknown proves nothing."""
    return [f"{name} differs: {a[name]} against {b[name]}" for name in a if name in b and a[name] != b[name]]


@dataclass
class Group:
    """Records that may be pooled: the runs that they come from, and what is known of any of them."""

    runs: dict[str, None] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def versions(self) -> str:
        """``numpy=2.4.1 torch=2.14.0``."""
        head = "version of "
        found = {name.removeprefix(head): word for name, word in self.facts.items() if name.startswith(head)}
        return " ".join(f"{name}={found[name]}" for name in sorted(found))


class Groups:
    """The groups of each cell, found as records stream by."""

    def __init__(self) -> None:
        self.of_cells: dict[Cell, list[Group]] = {}

    def place(self, record: Record) -> int:
        """The place of the record's group among those of its cell; the last one that fits.

        A process that failed early knows nothing of itself, and belongs to its own run, which is read in one piece.
        """
        found, groups = facts(record.fingerprint), self.of_cells.setdefault(record.cell, [])
        fitting = [place for place, group in enumerate(groups) if not differences(group.facts, found)]
        if not fitting:
            groups.append(Group())
        same_run = [place for place in fitting if record.run in groups[place].runs]
        place = (same_run or fitting or [len(groups) - 1])[-1]
        groups[place].runs[record.run] = None
        groups[place].facts |= found
        return place
