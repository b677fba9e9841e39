"""The figures of duets from the raw samples, by a second path: part of ``raw``.

``bench.evidence`` counts pairs of bursts on a lattice and convolves; here every pair is looked at from every ratio, and
SciPy has the distributions. Taken over are choices only: the window, the step, the share of the error for the medians,
the looks and what all of them together may err.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from bench.compare import AGAIN
from bench.evidence import FARTHEST, MEDIANS_SHARE, NARROWEST_WINDOW, STEP, WINDOW_SHARE
from bench.labels import plausible
from bench.record import Record
from bench.stats import pocock_level
from bench.verdict import LOOK_ALPHA

Ends = tuple[float, float | None, float | None]


def ratio_of(blocks: Sequence[Sequence[Record]], a: str, b: str, shown: Mapping[str, Any]) -> tuple[Ends | None, int]:
    """(speed of B over speed of A with its interval, number of blocks) of the pair of cells with these ids.

    ``shown``: the choices of the comparison: ``clock``, ``blocks`` (only so many count), ``margin`` and ``looks``.
    """
    usable = [logs for block in blocks if (logs := pair_logs(block, a, b, str(shown["clock"]))) is not None]
    usable = usable[: int(shown["blocks"])]
    if not usable:
        return None, 0
    level = pocock_level(tuple(map(int, shown["looks"])), LOOK_ALPHA)
    log, low, high = _estimate(usable, level, math.log1p(float(shown["margin"])))
    ends = tuple(None if end is None else math.exp(min(end, 700.0)) for end in (low, high))
    return (math.exp(log), ends[0], ends[1]), len(usable)


def pair_logs(block: Sequence[Record], a: str, b: str, clock: str) -> Any:
    """log(speed of B / speed of A) of each burst with each of the turns before and after it; None: a side is missing.

    Blocks in which a verdict was confirmed give none: they are no part of its estimate.
    """
    members: dict[tuple[str, int], Record] = {}
    for one in block:  # what is there twice is one
        if one.cell.id in (a, b):
            members.setdefault((one.cell.id, one.process), one)
    sides = sorted(members.values(), key=lambda one: one.process if a == b else one.cell.id != a)
    if len(sides) != 2 or {one.cell.id for one in sides} != {a, b} or sides[0].block.startswith(AGAIN):
        return None
    bursts = []
    for side, one in enumerate(sides):
        found = one.measurement
        if found is None or not plausible(one.labels) or min(found.bursts.wall_ns) <= 0:
            return None
        spent = np.array(getattr(found.bursts, f"{clock}_ns"), dtype=float)
        logs = np.log(spent / np.array(found.bursts.iterations) / found.items_per_iteration)
        bursts += [(start, side, log) for start, log in zip(found.bursts.started_ns, logs, strict=True)]
    bursts.sort(key=lambda burst: burst[:2])
    turns = [(side, [log for _, _, log in each]) for side, each in groupby(bursts, key=lambda burst: burst[1])]
    found_logs = []
    for (side, turn), (_, following) in pairwise(turns):
        of_a, of_b = (turn, following) if side == 0 else (following, turn)
        found_logs += [log_a - log_b for log_a in of_a for log_b in of_b]
    return np.array(found_logs)


def _critical(level: float, df: float, band: float, error: float) -> float:
    """The t at which both tails beyond the band have ``level`` between them; the band in errors, to a twentieth."""
    from scipy import optimize, stats

    width = math.floor(min(band / error, 5.0) * 20) / 20

    def excess(t: float) -> float:
        return float(stats.t.sf(t, df) + stats.t.sf(t + 2 * width, df)) - level

    return float(optimize.brentq(excess, 0.0, stats.t.isf(level / 4, df), xtol=1e-13))


def _estimate(blocks: Sequence[Any], level: float, band: float) -> Ends:
    """The ratio (a log) at which the pairs of all blocks pull to neither side, and those that are not rejected."""
    medians = np.array([np.median(logs) for logs in blocks])
    count, middle = len(blocks), float(medians.mean())
    if count < 2:
        return middle, None, None
    error = float(medians.std(ddof=1)) / math.sqrt(count)
    if error == 0:
        return middle, middle, middle
    half = _critical(level * MEDIANS_SHARE, count - 1, band, error) * error
    first, last = math.floor((middle - half) / STEP), math.ceil((middle + half) / STEP)
    ratios = np.arange(first, last + 1) * STEP
    pulls = np.stack([_pull(logs, ratios, _window(blocks)) for logs in blocks])
    mean = pulls.mean(axis=0)
    errors = np.maximum(pulls.std(axis=0, ddof=1), 1e-12) / math.sqrt(count)
    falls = [at for at in range(ratios.size - 1) if mean[at] >= 0 > mean[at + 1]]
    if not falls:
        return middle, middle - half, middle + half
    at = min(falls, key=lambda place: abs(ratios[place] - middle))
    slope = (mean[at] - mean[at + 1]) / STEP
    estimate = float(ratios[at] + mean[at] / slope)
    bound = _critical(level * (1 - MEDIANS_SHARE), count - 1, band, errors[at] / max(slope, 1e-12))
    low, high = _kept(np.abs(mean / errors), ratios, bound)
    return estimate, max(middle - half, min(low, estimate)), min(middle + half, max(high, estimate))


def _window(blocks: Sequence[Any]) -> float:
    """Half the robust scatter of all pairs, in steps of a fifth; five hundredths at least."""
    logs = np.concatenate(blocks)
    scatter = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    steps = round(math.log(max(NARROWEST_WINDOW, WINDOW_SHARE * scatter) / NARROWEST_WINDOW, 1.2))
    return float(NARROWEST_WINDOW * 1.2**steps)


def _pull(logs: Any, ratios: Any, window: float) -> Any:
    """The mean of Welsch's function over the pairs of one block, seen from each ratio."""
    median = np.median(logs)
    places = np.rint(np.clip(logs, median - FARTHEST, median + FARTHEST) / STEP)
    away = places[None, :] - np.rint(ratios / STEP)[:, None]
    u = np.where(np.abs(away) <= int(6 * window / STEP), away * STEP / window, 0.0)
    return (u * np.exp(-u * u / 2)).mean(axis=1)


def _kept(t: Any, ratios: Any, bound: float) -> tuple[float, float]:
    """The outermost places where ``t`` reaches ``bound``, between steps by a straight line."""
    inside = [at for at in range(t.size) if t[at] <= bound]
    if not inside:
        return math.inf, -math.inf
    ends = []
    for inner, outer in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        end = float(ratios[inner])
        if 0 <= outer < t.size:
            end += float((bound - t[inner]) / (t[outer] - t[inner]) * (ratios[outer] - ratios[inner]))
        ends.append(end)
    return ends[0], ends[1]
