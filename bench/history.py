"""Nights in, series and changes out: which nights belong together, where a level changed, what changed with it. Pure.

A **series** is one cell on one machine with one pinned environment: only there is the ratio of newest to pinned the
same quantity every night. Another chip, power state, thread count, file of weights or pin begins another series; the
versions of the newest side, the system, the driver and the harness may change within one, and are what a change is
attributed to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench import plugins
from bench.cell import Cell
from bench.changepoints import Change, Prediction, changes, predict, starts_of
from bench.machine import FACTS
from bench.points import Point
from bench.record import Fingerprint
from bench.verdict import refusal

#: Of machine facts: what is the operating system's, the rest is the machine's.
SYSTEM_FACTS = ("system", "os_version", "kernel")
#: Distributions that every environment has beside its framework.
LIBRARIES = ("python", "numpy")


@dataclass(frozen=True)
class Cause:
    """A fact that differs between the nights around a change.

    ``kind``: framework, plugin, library, operating system, driver, machine, harness or setting.
    """

    kind: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Found:
    """A change, the night that found it, and what changed with it; ``causes`` is empty where nothing recorded did.

    ``nearby``: the causes lie a night beside the estimated place, which is known to about one night.
    """

    change: Change
    found_at: int
    causes: tuple[Cause, ...]
    nearby: bool = False


@dataclass
class Series:
    """Measured nights of one cell, oldest first, and why the series began ("" for the first one of its cell)."""

    cell: Cell
    candidate: str
    points: list[Point] = field(default_factory=list)
    began: str = ""
    #: What the first ``_judged`` nights said: a night is judged once, however often it is asked for.
    _found: list[Found] = field(default_factory=list, repr=False, compare=False)
    _judged: int = field(default=0, repr=False, compare=False)

    @property
    def values(self) -> list[float]:
        """The log-ratio of each night."""
        return [point.log_ratio or 0.0 for point in self.points]

    @property
    def errors(self) -> list[float]:
        """The standard error of each night."""
        return [point.error or 0.0 for point in self.points]

    def found(self) -> list[Found]:
        """Every change, as it would have been found night by night. Points may be added later, not taken away."""
        points = self.points
        if self._judged < len(points):
            confirmed = [point.confirmed for point in points]
            # A reason is asked for only where a night was confirmed; comparing all nights would take most of the time.
            changed = [
                bool(index and confirmed[index] and reasons_of(points[index - 1], points[index]))
                for index in range(len(points))
            ]
            known = [(one.found_at, one.change) for one in self._found]
            every = changes(self.values, self.errors, confirmed, changed, known, self._judged)
            self._found += [
                Found(change, night, *attribution(points[: night + 1], change)) for night, change in every[len(known) :]
            ]
            self._judged = len(points)
        return list(self._found)

    def prediction(self) -> Prediction | None:
        """Where the next night is expected; None while too few nights are known."""
        return predict(self.values, self.errors, starts_of((one.found_at, one.change) for one in self.found()))


def series_of(points: Iterable[Point]) -> list[Series]:
    """The series of all measured points, in the order in which they began; ``points`` are in order of time.

    A machine that comes back goes on with its own series.
    """
    made: list[Series] = []
    of_cell: dict[tuple[Cell, str], list[Series]] = {}
    for point in points:
        if point.outcome != "measured":
            continue
        series = series_for(point, of_cell.setdefault((point.cell, point.candidate), []))
        if not series.points:
            made.append(series)
        series.points.append(point)
    return made


def series_for(point: Point, known: list[Series]) -> Series:
    """The series in ``known`` that ``point`` belongs to; a new one, added to ``known``, where it fits none."""
    of_cell = [one for one in known if (one.cell, one.candidate) == (point.cell, point.candidate)]
    began = ""
    for one in sorted(of_cell, key=lambda one: one.points[-1].started_at, reverse=True):
        differing = incomparable(one.points[-1], point)
        if not differing:
            return one
        began = began or "; ".join(differing)
    made = Series(point.cell, point.candidate, began=began)
    known.append(made)
    return made


def incomparable(a: Point, b: Point) -> list[str]:
    """What forbids to put two nights of a cell in one series: facts of the machine, and versions of the pinned side."""
    if a.fingerprints is None or b.fingerprints is None:
        return ["a night without fingerprints"]
    pinned_a, pinned_b = a.fingerprints[0], b.fingerprints[0]
    versions = [
        f"pinned {name} differs: {old} against {new}"
        for name, old, new in _versions(pinned_a, pinned_b, absent=None)
        if name != "twinbench"
    ]
    clock = [f"clock differs: {a.clock} against {b.clock}"] if a.clock != b.clock else []
    return refusal(pinned_a, pinned_b) + versions + clock


# --- attribution -----------------------------------------------------------------------------------------------------


def attribution(points: Sequence[Point], change: Change) -> tuple[tuple[Cause, ...], bool]:
    """What differs between the last night before ``change`` and the first after it; else one night to either side.

    ``points`` end with the night that found it. A drift has no night of its own: all that changed since the anchor.
    """
    first = change.first
    if change.kind == "drift":
        return tuple(dict.fromkeys(_between(points, first, len(points) - 1))), False
    if exact := causes_of(points[first - 1], points[first]):
        return tuple(exact), False
    near = [cause for place in (first - 1, first + 1) for cause in _between(points, place, place)]
    return tuple(near), bool(near)


def _between(points: Sequence[Point], first: int, last: int) -> list[Cause]:
    return [
        cause
        for index in range(max(1, first), min(last, len(points) - 1) + 1)
        for cause in causes_of(points[index - 1], points[index])
    ]


def reasons_of(before: Point, after: Point) -> list[Cause]:
    """Of ``causes_of``, what may change the ratio of the sides: what did not change on the pinned one in the same way.

    A commit of twinbench or a new system is on both sides: no reason to believe a single night.
    """
    causes = causes_of(before, after)
    pinned = causes_of(before, after, side=0) if causes else []
    return [cause for cause in causes if cause not in pinned]


def causes_of(before: Point, after: Point, side: int = 1) -> list[Cause]:
    """The differences between two nights of a series; a fact that either night does not know is no difference.

    ``side``: 0 the pinned one, 1 the newest.
    """
    if before.fingerprints is None or after.fingerprints is None:
        return []
    a, b = before.fingerprints[side], after.fingerprints[side]
    return [
        *(Cause(_kind_of(name), name, str(old), str(new)) for name, old, new in _versions(a, b)),
        *_facts(a, b),
        *(
            Cause("setting", name, a.variables.get(name, "unset"), b.variables.get(name, "unset"))
            for name in sorted({*a.variables, *b.variables})
            if a.variables.get(name) != b.variables.get(name)
        ),
    ]


def _versions(
    a: Fingerprint, b: Fingerprint, absent: str | None = "nothing"
) -> list[tuple[str, str | None, str | None]]:
    if a.versions == b.versions:  # nearly all nights
        return []
    return [
        (name, a.versions.get(name, absent), b.versions.get(name, absent))
        for name in sorted({*a.versions, *b.versions})
        if a.versions.get(name) != b.versions.get(name)
    ]


def _facts(a: Fingerprint, b: Fingerprint) -> list[Cause]:
    found = []
    if None not in (a.git_revision, b.git_revision) and a.git_revision != b.git_revision:
        found.append(Cause("harness", "revision", _short(a.git_revision), _short(b.git_revision)))
    pairs = [(name, a.machine.get(name), b.machine.get(name)) for name in FACTS if name != "displays"]
    for name, old, new in [*pairs, ("device_name", a.device_name, b.device_name)]:
        if old is not None and new is not None and old != new:
            kind = "operating system" if name in SYSTEM_FACTS else "driver" if name == "driver" else "machine"
            found.append(Cause(kind, name, str(old), str(new)))
    return found


def _kind_of(distribution: str) -> str:
    if distribution == "twinbench":
        return "harness"
    if distribution in LIBRARIES:
        return "library"
    return "plugin" if distribution in plugins.PLUGINS or distribution.startswith(plugins.HARMLESS) else "framework"


def _short(revision: str | None) -> str:
    """A commit as people write it; what stands behind a ``+`` stays."""
    commit, plus, rest = (revision or "").partition("+")
    return commit[:10] + plus + rest
