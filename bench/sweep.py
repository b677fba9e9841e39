"""Sweeps: the same cells at growing batches or sizes, until the list, the time or the memory ends.

Every point is an ordinary cell with ordinary records. The first process of each goes upwards, so that a series ends
where the memory or the patience does, and nothing beyond is tried; that end is a finding with a record, not an error.
All further processes are shuffled like those of any run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.errors import UsageError, unknown
from bench.record import Failed, Outcome, Record, TimedOut
from bench.workload import Workload

AXES = ("batch", "size")
#: How an open-ended list ends: ``batch=1,2,4,...``.
OPEN = "..."
#: No series goes beyond this batch.
LARGEST_BATCH = 1_000_000
#: An open-ended series ends with the point whose first process, its reference included, took longer than this.
LIMIT_S = 60.0
#: What frameworks, allocators and the kernel say when memory is not enough; in the type or the message of a failure.
MEMORY = re.compile(
    r"MemoryError|out of memory|OutOfMemory|RESOURCE_EXHAUSTED|ResourceExhausted|can't allocate memory|bad_alloc"
    r"|unable to allocate|attempting to allocate|OOM when allocating|out-of-memory killer",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sweep:
    """One axis and its values in order; ``open_ended``: they go on from the last by doubling, or by the next size."""

    axis: str
    values: tuple[str, ...]
    open_ended: bool


def parse(text: str) -> Sweep:
    """``batch=1,2,4,...`` or ``size=tiny,base``.

    Raises:
        UsageError: no such axis, or values that are none; names them.
    """
    axis, separator, listed = text.partition("=")
    if not separator:
        raise UsageError(f"--sweep takes AXIS=VALUES, got {text!r}; for instance batch=1,2,4,... or size=tiny,base")
    if axis not in AXES:
        raise unknown("axis of --sweep", axis, AXES)
    words = [word.strip() for word in listed.split(",") if word.strip()]
    open_ended = bool(words) and words[-1] == OPEN
    values = tuple(dict.fromkeys(words[:-1] if open_ended else words))
    if not values:
        raise UsageError(f"--sweep {axis} needs at least one value, got {text!r}")
    if axis == "batch":
        for word in values:
            if not word.isdecimal() or not 1 <= int(word) <= LARGEST_BATCH:
                raise UsageError(f"--sweep batch takes whole numbers from 1 to {LARGEST_BATCH:,}, got {word!r}")
        values = tuple(sorted(values, key=int))
    return Sweep(axis, values, open_ended)


def parsed(texts: Iterable[str]) -> dict[str, Sweep]:
    """By axis.

    Raises:
        UsageError: an axis is given twice.
    """
    found: dict[str, Sweep] = {}
    for text in texts:
        one = parse(text)
        if one.axis in found:
            raise UsageError(f"--sweep {one.axis} is given twice: put all its values into one list")
        found[one.axis] = one
    return found


def batches(sweep: Sweep) -> tuple[int, ...]:
    """All batches of the plan; an open-ended list doubles up to the largest batch there is."""
    values = [int(word) for word in sweep.values]
    while sweep.open_ended and 2 * values[-1] <= LARGEST_BATCH:
        values.append(2 * values[-1])
    return tuple(values)


def sizes(sweep: Sweep, spec: Workload) -> tuple[str, ...]:
    """All sizes of the plan in the workload's order; an open-ended list goes on with those after its last.

    Raises:
        UsageError: the workload has no such size.
    """
    known = list(spec.sizes)
    for word in sweep.values:
        if word not in known:
            raise unknown(f"size of {spec.name}", word, known)
    last = max(known.index(word) for word in sweep.values)
    further = known[last + 1 :] if sweep.open_ended else []
    return tuple(name for name in known if name in sweep.values or name in further)


def is_end(outcome: Outcome) -> bool:
    """Whether memory or time ended here, so that more of the same is not worth trying."""
    if isinstance(outcome, TimedOut):
        return True
    return isinstance(outcome, Failed) and bool(MEMORY.search(f"{outcome.type}: {outcome.message}"))


def is_end_in_words(outcome: str, reason: str) -> bool:
    """As ``is_end``, of a summary's outcome and reason."""
    return outcome == "timed_out" or (outcome == "failed" and bool(MEMORY.search(reason)))


class Series:
    """What has ended: no point beyond it is tried. Without sweeps nothing ever ends."""

    def __init__(
        self, sweeps: Mapping[str, Sweep], workloads: Mapping[str, Workload], limit_s: float = LIMIT_S
    ) -> None:
        self._sweeps = sweeps
        self._ranks = {name: {size: rank for rank, size in enumerate(w.sizes)} for name, w in workloads.items()}
        self._limit_ns = limit_s * 1e9
        self._open = any(sweep.open_ended for sweep in sweeps.values())
        #: (cell, whether the cell itself is over, too).
        self._ends: list[tuple[Cell, bool]] = []

    def rank(self, cell: Cell) -> tuple[int, int]:
        """Where the cell stands in its series: what is beyond it has a larger one."""
        return self._ranks.get(cell.workload, {}).get(cell.size, 0), cell.batch

    def watch(self, record: Record, took_ns: float = 0.0) -> str | None:
        """Take note of a record; a sentence if it ended its series. ``took_ns``: of its whole block, where known."""
        if not self._sweeps or self.is_over(record.cell):
            return None
        if is_end(record.outcome):
            self._ends.append((record.cell, True))
            why = "time" if isinstance(record.outcome, TimedOut) else "memory"
            return f"{record.cell.label}: the {why} ends here, nothing larger is tried"
        if self._open and max(took_ns, sum(record.stages_ns.values())) > self._limit_ns:
            self._ends.append((record.cell, False))
            return f"{record.cell.label}: took more than {self._limit_ns / 1e9:.0f} s, nothing larger is tried"
        return None

    def is_over(self, cell: Cell) -> bool:
        """Whether the cell lies beyond an end of its series."""
        return any(self._beyond(cell, end, itself) for end, itself in self._ends)

    def _beyond(self, cell: Cell, end: Cell, itself: bool) -> bool:
        if cell.but(size=end.size, batch=end.batch) != end:
            return False
        mine, its = self.rank(cell), self.rank(end)
        return mine[0] >= its[0] and mine[1] >= its[1] and (itself or cell != end)


def firsts(cells: Sequence[Cell]) -> list[Cell]:
    """Of each size the cells with the smallest batch: what can be looked at without making a whole sweep's inputs."""
    smallest: dict[tuple[str, str], int] = {}
    for cell in cells:
        key = (cell.workload, cell.size)
        smallest[key] = min(cell.batch, smallest.get(key, cell.batch))
    return [cell for cell in cells if cell.batch == smallest[cell.workload, cell.size]]
