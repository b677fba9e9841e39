"""What a file of another tool says of one benchmark, in twinbench's words and units."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from bench.cell import UNKNOWN, Cell

#: What a benchmark of another tool counts.
ITERATION = "iterations"
LARGEST_BATCH = 1_000_000
LARGEST_ITEMS = 1e15
#: Records hold times in ns and counts in 64 bits.
LARGEST = 2**63 - 1
#: Years in which somebody can have measured; a date outside them is a mistake.
YEARS = range(1990, 2200)


@dataclass(frozen=True)
class Process:
    """One process: ``wall_ns[i]`` is the time of ``iterations[i]`` iterations. ``started_at`` is ISO 8601, or None."""

    iterations: tuple[int, ...]
    wall_ns: tuple[int, ...]
    started_at: str | None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. ``source`` is the tool with its version; facts that the file does not say are absent or None."""

    cell: Cell
    source: str
    processes: tuple[Process, ...]
    item: str = ITERATION
    items_per_iteration: float = 1.0
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    git_revision: str | None = None
    weights_sha256: str | None = None
    inputs_sha256: str | None = None


def cell_of(words: Mapping[str, Any]) -> Cell | None:
    """The cell of a file that twinbench itself wrote; None where a word is missing or no word."""
    names = [one.name for one in fields(Cell)]
    if any(text(words.get(name)) is None for name in names if name != "batch"):
        return None
    if (whole(words.get("batch")) or LARGEST) > LARGEST_BATCH:
        return None
    return Cell(**{name: words[name] for name in names})


def foreign_cell(name: str, tool: str) -> Cell:
    """A benchmark that is none of ours, by its name: the file does not say on which device it ran, nor how."""
    return Cell(name, "foreign", "imported", "default", 1, tool, UNKNOWN, UNKNOWN, UNKNOWN)


def process_of(times_s: Any, iterations: Any, started_at: Any) -> Process:
    """Seconds of one iteration, as measured over ``iterations`` at once, as a process.

    Raises:
        ValueError: no time, or one that is no positive number or too short for a clock.
    """
    if not isinstance(times_s, list | tuple) or not times_s:
        raise ValueError("it has no times of single rounds")
    if whole(iterations) is None:
        raise ValueError(f"iterations of a round are {iterations!r}, not a whole number from 1")
    for place, time in enumerate(times_s):
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time * iterations * 1e9 < LARGEST:
            raise ValueError(f"time {place} is {time!r}, not a positive number of seconds")
    wall_ns = tuple(round(time * iterations * 1e9) for time in times_s)
    if min(wall_ns) < 1:
        raise ValueError(f"a round took {min(times_s) * iterations:.2g} s: shorter than any clock can tell")
    return Process((iterations,) * len(wall_ns), wall_ns, _date(started_at))


def machine_of(facts: Mapping[str, Any], hashed: bool) -> dict[str, Any]:
    """Known facts only. A name of a host is never kept, only its hash; ``hashed``: it is one already."""
    known = {key: value for key, value in facts.items() if value not in (None, "")}
    if "host" in known and not hashed:
        known["host"] = hashlib.sha256(str(known["host"]).encode()).hexdigest()[:8]
    return known


def items(value: Any) -> float:
    """How many items an iteration handles; one where the file does not say.

    Raises:
        ValueError: it says, but no number that can be.
    """
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_ITEMS:
        raise ValueError(f"items of an iteration are {value!r}, not a number above 0")
    return float(value)


def whole(value: Any) -> int | None:
    """A whole number from 1, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST else None


def text(value: Any) -> str | None:
    """A string that says something, else None."""
    return value if isinstance(value, str) and value else None


def _date(started_at: Any) -> str | None:
    try:
        date = datetime.fromisoformat(started_at)
    except (TypeError, ValueError):
        return None
    return date.isoformat() if date.year in YEARS else None
