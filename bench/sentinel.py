"""The clock sentinel: did the device keep its speed while the bursts ran? Pure; standard library only.

Between bursts the worker times one fixed matrix product on the cell's own device (``bench/passes.py``). Counters of
clocks can lie under heat (METAL.md), the same work taking longer cannot. What neighbours take is told from it by their
CPU time: a burst beside a neighbour proves nothing about clocks, and is left to the label ``contended``.

A burst has *drifted* when the reading after it differs from the first ones by more than 3 %, or by more than three
times what two readings next to each other differ by, where a machine is noisier than that.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from bench.contention import burst_is_contended, is_contended
from bench.record import Measurement, Sentinel

#: A change of the clock beyond this is worth a word; it is also the margin of a comparison.
DRIFT = 0.03
#: On a noisy machine: this many times the usual difference between two readings next to each other.
NOISE_FACTOR = 3.0
#: The share of a process's bursts that must have drifted before the process is said to have.
DRIFTED_FRACTION = 0.25
#: Discarding stops here: from fewer bursts a process has no median.
FEWEST_BURSTS = 3
#: What may be done with bursts that drifted: say so, or leave them out of the process's median.
POLICIES = ("annotate", "discard")

#: A reading is due when the bursts since the last one took this many times its cost, so a tenth at most ...
SHARE = 10
#: ... but after so many bursts at the latest, however dear it is.
LATEST_AFTER = 3


def is_due(bursts_ns: Sequence[int], reading_ns: int) -> bool:
    """Whether to read the sentinel: ``bursts_ns`` are the bursts since the last reading, ``reading_ns`` its cost."""
    return bool(bursts_ns) and (len(bursts_ns) >= LATEST_AFTER or sum(bursts_ns) >= SHARE * reading_ns)


def threshold(sentinel: Sentinel) -> float:
    """The change, as a share, beyond which a reading is no scatter."""
    readings = sentinel.wall_ns
    steps = [abs(after - before) for before, after in pairwise(readings)]
    usual = statistics.median(steps) / reference(sentinel) if steps else 0.0
    return max(DRIFT, NOISE_FACTOR * usual)


def reference(sentinel: Sentinel) -> float:
    """What a reading was at first: the median of the first quarter, in ns."""
    return statistics.median(sentinel.wall_ns[: max(1, len(sentinel.wall_ns) // 4)])


def changes(sentinel: Sentinel, bursts: int) -> list[float]:
    """For each of ``bursts``, the change of the next reading against the first ones: 0.05 is 5 % slower."""
    first = reference(sentinel)
    found = []
    for number in range(1, bursts + 1):
        after = [ns for done, ns in zip(sentinel.after_burst, sentinel.wall_ns, strict=True) if done >= number]
        found.append((after[0] if after else sentinel.wall_ns[-1]) / first - 1)
    return found


def drifted(measurement: Measurement) -> list[bool]:
    """Burst by burst: was the clock another one? All False without a sentinel, or where neighbours explain it."""
    bursts, sentinel = measurement.bursts, measurement.sentinel
    quiet = [False] * len(bursts.wall_ns)
    if sentinel is None or len(sentinel.wall_ns) < 2 or is_contended(bursts):
        return quiet
    limit = threshold(sentinel)
    return [
        abs(change) > limit and not (foreign is not None and burst_is_contended(foreign, wall))
        for change, foreign, wall in zip(
            changes(sentinel, len(quiet)), bursts.foreign_cpu_ns, bursts.wall_ns, strict=True
        )
    ]


def has_drifted(measurement: Measurement) -> bool:
    """Whether enough bursts of the process drifted to say so of the process."""
    found = drifted(measurement)
    return bool(found) and sum(found) >= DRIFTED_FRACTION * len(found) and any(found)


def kept(measurement: Measurement) -> list[int]:
    """Which bursts enter the process's median: all, but for those that drifted where the record's policy says so."""
    every = list(range(len(measurement.bursts.wall_ns)))
    if measurement.sentinel is None or measurement.sentinel.policy != "discard":
        return every
    steady = [index for index, away in enumerate(drifted(measurement)) if not away]
    return steady if len(steady) >= FEWEST_BURSTS else every
