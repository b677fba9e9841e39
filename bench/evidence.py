"""What a sequence of blocks says about a ratio: an estimate, an interval and a p value against a margin. Pure.

Two kinds of evidence. ``Means`` holds one log-ratio a block and uses Student's t. ``Duets`` holds all bursts of each
block, and asks where the ratios of neighbouring bursts pile up: on a busy machine most neighbours met the same
conditions and show the true ratio, while the rest are far off to either side. What that gained, and what else was
tried, stands in ``docs/statistics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np

from bench.stats import Floats, checked_logs, t_quantile, t_tail

#: Width of the window around the ratio in which pairs count, as a share of the robust scatter of all pairs. Chosen on
#: every other block of the recorded noise, and held by the others.
WINDOW_SHARE = 0.5
#: The narrowest window (a log-ratio). On a quiet machine this is many times the scatter, and the estimate is then
#: close to the mean of the pairs: blocks that differ by a few percent must not each have a window of their own.
NARROWEST_WINDOW = 0.05
#: Share of the error that is spent on the interval of the block medians, within which the finer one is sought.
MEDIANS_SHARE = 0.05
#: Step of the lattice (in log-ratio) on which pairs are counted: a thirtieth of the margin.
STEP = 0.001
#: Pairs further from their block's median than this (a factor of twenty) are counted as that far.
FARTHEST = 3.0


@dataclass(frozen=True)
class Estimate:
    """A log-ratio with its interval and p value; all None but ``log`` where one block cannot give any.

    ``error`` is the standard error; ``confidence`` that of the two-sided interval; ``p_value`` is that of "the ratio
    lies beyond the band", two-sided.
    """

    log: float
    low: float | None = None
    high: float | None = None
    error: float | None = None
    confidence: float = 0.95
    p_value: float = 1.0


class Evidence(Protocol):
    """Blocks in the order in which they were measured."""

    @property
    def blocks(self) -> int:
        """How many."""

    def first(self, blocks: int) -> Evidence:
        """The first so many, as a look sees them."""

    def estimate(self, level: float, band: float) -> Estimate:
        """What they say; ``level`` is the two-sided error of one look, ``band`` the margin as a log."""


@lru_cache(maxsize=4096)
def critical(level: float, df: float, band_in_errors: float) -> float:
    """The t value to exceed beyond the edge of the band so that no ratio within is flagged more often than ``level``.

    At the worst ratio, an edge, both tails count: P(T > t) + P(T > t + 2 band). Without a band that is the usual
    two-sided test; where the band is wide the far tail is empty and the near one may have the whole level (the test of
    a minimum effect, Murphy and Myors 1999, J. Appl. Psychol. 84:234).
    """
    low, high = t_quantile(1 - level, df), t_quantile(1 - level / 2, df)
    for _ in range(30):
        middle = (low + high) / 2
        if beyond(middle, df, band_in_errors) > level:
            low = middle
        else:
            high = middle
    return high


def beyond(t: float, df: float, band_in_errors: float) -> float:
    """P value of a statistic ``t`` standard errors beyond the nearer edge of the band: see ``critical``."""
    return min(1.0, t_tail(t, df) + t_tail(t + 2 * band_in_errors, df))


def _coarse(band_in_errors: float) -> float:
    """Rounded down, which errs to the strict side, so that ``critical`` is computed for few values."""
    return math.floor(min(band_in_errors, 5.0) * 20) / 20


def _student(values: Floats, level: float, band: float) -> Estimate:
    """Student's t on one log-ratio a block."""
    mean = float(values.mean())
    if values.size < 2:
        return Estimate(mean)
    df = float(values.size - 1)
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    if error == 0:
        return Estimate(mean, mean, mean, 0.0, 1 - level, 0.0 if abs(mean) > band else 1.0)
    t = critical(level, df, _coarse(band / error))
    p_value = beyond((abs(mean) - band) / error, df, band / error)
    return Estimate(mean, mean - t * error, mean + t * error, error, 1 - 2 * t_tail(t, df), p_value)


@dataclass(frozen=True)
class Means:
    """One log-ratio a block, shape (blocks,)."""

    logs: Floats

    @property
    def blocks(self) -> int:
        """See Evidence."""
        return int(self.logs.size)

    def first(self, blocks: int) -> Means:
        """See Evidence."""
        return Means(self.logs[:blocks])

    def estimate(self, level: float, band: float) -> Estimate:
        """See Evidence."""
        return _student(self.logs, level, band)


def means(values: Sequence[float] | Floats) -> Means:
    """One log-ratio a block.

    Raises:
        ValueError: none, or one that is not finite.
    """
    return Means(checked_logs(values))


@dataclass(frozen=True, eq=False)
class Pairs:
    """One block: log(speed of B / speed of A) of each burst with each burst in a neighbouring turn of the other side.

    ``median`` is theirs, ``total`` the same ratio from the whole time of all bursts. ``counts`` says how many pairs
    lie at each step of a lattice that begins at ``lowest`` (in steps).
    """

    logs: Floats
    median: float
    total: float
    lowest: int
    counts: Floats
    _curves: dict[float, tuple[int, Floats]] = field(default_factory=dict, repr=False)

    def scores(self, window: float, first: int, last: int) -> Floats:
        """How strongly the pairs pull at each step from ``first`` to ``last``: positive, the ratio is larger.

        The mean over pairs of u exp(-u²/2), u being the distance in windows (Welsch's function): a pair far away has no
        say at all.
        """
        if window not in self._curves:
            reach = int(6 * window / STEP)
            u = np.arange(-reach, reach + 1) * (STEP / window)
            curve = np.convolve(self.counts, -u * np.exp(-u * u / 2)) / self.logs.size
            self._curves[window] = (self.lowest - reach, curve)
        begin, curve = self._curves[window]
        result = np.zeros(last - first + 1)
        low, high = max(first, begin), min(last, begin + curve.size - 1)
        if low <= high:
            result[low - first : high - first + 1] = curve[low - begin : high - begin + 1]
        return result


def pairs_of(a_ns: Floats, b_ns: Floats, a_started_ns: Sequence[int], b_started_ns: Sequence[int]) -> Pairs:
    """The pairs of one block from the time of one item in each burst, in ns, and when it started.

    Bursts that ran one after the other without one of the other side between them are a turn; each turn is paired
    with the one before and the one after it.

    Raises:
        ValueError: a side has no burst, or one whose time is not positive; or times and starts are not of one length.
    """
    if (a_ns.size, b_ns.size) != (len(a_started_ns), len(b_started_ns)) or not a_ns.size or not b_ns.size:
        raise ValueError(f"{a_ns.size} and {b_ns.size} bursts with {len(a_started_ns)} and {len(b_started_ns)} starts")
    if min(a_ns.min(), b_ns.min()) <= 0:
        raise ValueError("a burst took no time")
    sides = np.repeat([0, 1], [a_ns.size, b_ns.size])
    order = np.lexsort((sides, np.concatenate([a_started_ns, b_started_ns])))
    logs = np.log(np.concatenate([a_ns, b_ns]))[order]
    turns = np.split(logs, np.flatnonzero(np.diff(sides[order])) + 1)
    sign = 1.0 if sides[order[0]] == 0 else -1.0  # of the first turn's side: log a - log b
    found = []
    for index, (one, other) in enumerate(pairwise(turns)):
        found.append((sign if index % 2 == 0 else -sign) * (one[:, None] - other[None, :]).ravel())
    return _counted(np.concatenate(found), float(np.log(a_ns.mean() / b_ns.mean())))


def _counted(logs: Floats, total: float) -> Pairs:
    median = float(np.median(logs))
    steps = np.rint(np.clip(logs, median - FARTHEST, median + FARTHEST) / STEP).astype(np.int64)
    lowest = int(steps.min())
    return Pairs(logs, median, total, lowest, np.bincount(steps - lowest).astype(np.float64))


@dataclass(frozen=True)
class Duets:
    """Blocks with all their bursts.

    The interval holds every ratio at which the blocks' scores (``Pairs.scores``) do not clearly pull to one side, by
    Student's t over blocks. Scores are bounded and, at the true ratio, as often positive as negative, so no single
    block can decide; and a block counts once, however many bursts it has. Because scores vanish far away, the search
    stays within the interval of the block medians, whose error is accounted for (``MEDIANS_SHARE``). Where blocks fall
    into several groups, all of them are in the interval.
    """

    pairs: tuple[Pairs, ...]

    @property
    def blocks(self) -> int:
        """See Evidence."""
        return len(self.pairs)

    def first(self, blocks: int) -> Duets:
        """See Evidence."""
        return Duets(self.pairs[:blocks])

    def shifted(self, by: float) -> Duets:
        """The same blocks as if every log-ratio were so much larger."""
        return Duets(tuple(_counted(block.logs + by, block.total + by) for block in self.pairs))

    def totals(self) -> Means:
        """One log-ratio a block from the whole time of all bursts: what a sum of times would show."""
        return Means(np.array([block.total for block in self.pairs]))

    def window(self) -> float:
        """Width of the window, in steps of a fifth, so that curves can be used again."""
        logs = np.concatenate([block.logs for block in self.pairs])
        scatter = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        wanted = max(NARROWEST_WINDOW, WINDOW_SHARE * scatter)
        return NARROWEST_WINDOW * 1.2 ** round(math.log(wanted / NARROWEST_WINDOW, 1.2))

    def estimate(self, level: float, band: float) -> Estimate:
        """See Evidence."""
        medians = np.array([block.median for block in self.pairs])
        outer = _student(medians, level * MEDIANS_SHARE, band)
        if outer.low is None or outer.high is None or outer.error == 0:
            return outer
        first, last = math.floor(outer.low / STEP), math.ceil(outer.high / STEP)
        window = self.window()
        scores = np.stack([block.scores(window, first, last) for block in self.pairs])
        ratios = np.arange(first, last + 1, dtype=np.float64) * STEP
        return _inverted(scores, ratios, outer, level, band)


def _hull(t: Floats, ratios: Floats, bound: float) -> tuple[float, float]:
    """The ends of the ratios with |t| within ``bound``, between steps by a straight line; (inf, -inf) for none."""
    kept = np.flatnonzero(np.abs(t) <= bound)
    if not kept.size:
        return math.inf, -math.inf
    ends = []
    for inner, outer in ((int(kept[0]), int(kept[0]) - 1), (int(kept[-1]), int(kept[-1]) + 1)):
        end = float(ratios[inner])
        if 0 <= outer < t.size:
            part = (bound - abs(t[inner])) / (abs(t[outer]) - abs(t[inner]))
            end += float(part * (ratios[outer] - ratios[inner]))
        ends.append(end)
    return ends[0], ends[1]


def _inverted(scores: Floats, ratios: Floats, outer: Estimate, level: float, band: float) -> Estimate:
    """The hull of the ratios that the scores, shape (blocks, ratios), do not reject, within the outer interval."""
    assert outer.low is not None
    assert outer.high is not None
    count, df = len(scores), float(len(scores) - 1)
    share = level * (1 - MEDIANS_SHARE)
    mean = scores.mean(axis=0)
    errors = np.maximum(scores.std(axis=0, ddof=1), 1e-12) / math.sqrt(count)
    t = mean / errors
    # Of the places where the pull changes from up to down, the one nearest to the medians.
    turns = np.flatnonzero((mean[:-1] >= 0) & (mean[1:] < 0))
    if not turns.size:
        return outer
    at = int(turns[np.argmin(np.abs(ratios[turns] - outer.log))])
    estimate = float(ratios[at] + STEP * mean[at] / (mean[at] - mean[at + 1]))
    error = float(errors[at]) / max((float(mean[at]) - float(mean[at + 1])) / STEP, 1e-12)
    bound = critical(share, df, _coarse(band / error))
    low, high = _hull(t, ratios, bound)
    low, high = max(outer.low, min(low, estimate)), min(outer.high, max(high, estimate))
    p_value = min(1.0, outer.p_value / MEDIANS_SHARE)
    inside = (np.abs(ratios) <= band + STEP / 2) if band else np.abs(ratios) <= STEP / 2
    if inside.any() and abs(estimate) > band:
        weakest = float(np.abs(t[inside]).min())
        p_value = min(p_value, beyond(weakest, df, band / error) / (1 - MEDIANS_SHARE))
    return Estimate(estimate, low, high, error, 1 - 2 * t_tail(bound, df), p_value)
