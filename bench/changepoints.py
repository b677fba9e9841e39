"""Did the level of a series of nights change? Pure: numbers in, changes out; nothing is known of records or machines.

A series is one log-ratio a night (newest release over pinned release, measured the same night). Three tests look at it,
every night anew, on the nights since the last change that is known (the **regime**):

- ``step``: PELT (Killick, Fearnhead and Eckley 2012, JASA 107:1590) with the l1 cost proposes where the level changed;
  a proposal counts when the medians before and after differ by 3 % or more and by more than the nights' noise explains.
- ``drift``: the same test between the first nights of the regime, which stay the same for months, and the last three:
  a change that is too slow for any single split.
- ``tonight``: one night alone. It needs a night outside the prediction interval, the same again in fresh processes, and
  a reason: a version or a fact that changed since the night before. Without a reason it waits until it lasts.

How often these err, and what was chosen to make it so, stands in ``docs/nightly.md``.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.medians import median, trailing_medians
from bench.pelt import segments
from bench.stats import Floats, t_quantile

#: Fewest nights of a level: fewer are a spike. Also the nights that a prediction needs.
FEWEST_NIGHTS = 3
#: Changes below this are not worth a person's morning; as everywhere, a share (``bench.verdict.MARGIN``).
SMALLEST = math.log1p(0.03)
#: Nights resemble the nights before them: every test allows for a lag-1 autocorrelation of this much.
AUTOCORRELATION = 0.6
#: Standard deviation between nights that is assumed beyond the scatter of the blocks, until enough nights have said
#: better: that of the recorded duets' means of 16 blocks on CPU time (0.0097). It weighs as much as so many nights.
BETWEEN_NIGHTS_SD = 0.005
PRIOR_NIGHTS = 8.0
#: Residuals beyond so many robust standard deviations count as this much: a spike in twenty nights says nothing about
#: the other nineteen. Normal noise loses to the bound what ``WITHIN_BOUND`` gives back: its variance so bounded.
SPIKE = 2.0
WITHIN_BOUND = 0.9205
#: Two measurements of one night further apart than so many standard errors of their difference: one is a spike.
APART = 4.0
#: Variance of a median over that of a mean, for normal noise.
MEDIAN_VARIANCE = math.pi / 2
#: A night outside of this prediction interval is measured again.
SUSPECT_LEVEL = 0.05
#: Two-sided levels of one test of one night, chosen by simulation so that 100 nights of noise keep below 2 % together.
TONIGHT_LEVEL = 1e-4
SHIFT_LEVEL = 2e-3
#: A shift is also so many standard errors: a long history has many splits to try, and Student's t grows lenient. From
#: 3.5 to 3.9, alarms of autocorrelated nights fall from 1.8 to 1.0 %, and +5 % found among spiky ones from 89 to 75 %.
FEWEST_STANDARD_ERRORS = 3.6
#: PELT's penalty in units of the noise and of log(nights): about what BIC asks of a Laplace likelihood, times the
#: autocorrelation that it does not know of.
PENALTY = 3.0
#: The first nights of a regime: what drift is measured against.
ANCHOR_NIGHTS = 10
#: Of the nights after a change, this share must lie beyond the middle between the two levels: two spikes are no level.
SHARE_BEYOND = 0.75
#: Older nights of a regime add nothing to where its level is (the anchor keeps the first ones).
WINDOW = 60


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a night's log-ratio around its level, and what it rests on, in degrees of freedom."""

    sd: float
    df: float


@dataclass(frozen=True)
class Settled:
    """What the regimes before this one say of noise. ``taken``: the degrees of freedom that their levels took."""

    residuals: Floats
    taken: float


NOTHING_SETTLED = Settled(np.empty(0), 0.0)


@dataclass(frozen=True)
class Change:
    """A level that changed. ``first``: index of the first night of the new level (drift: the first beyond the anchor).

    ``size`` is the log-ratio of the new level to the old, below 0 for slower; ``strength`` is ``size`` in standard
    errors. ``kind``: ``step``, ``drift`` or ``tonight``.
    """

    kind: str
    first: int
    size: float
    strength: float


@dataclass(frozen=True)
class Prediction:
    """Where tonight is expected (log-ratios): centre, standard deviation of the prediction, degrees of freedom."""

    centre: float
    sd: float
    df: float

    def interval(self, level: float = SUSPECT_LEVEL) -> tuple[float, float]:
        """The two-sided prediction interval; outside of it lies a share ``level`` of unchanged nights."""
        half = t_quantile(1 - level / 2, self.df) * self.sd
        return self.centre - half, self.centre + half

    def outside(self, value: float, level: float = SUSPECT_LEVEL) -> bool:
        """Whether ``value`` lies outside of the interval."""
        low, high = self.interval(level)
        return not low <= value <= high

    def confirmed(self, first: float, second: float) -> bool:
        """Whether two measurements of one night lie outside, on the same side: two spikes seldom agree."""
        return self.outside(first) and self.outside(second) and (first > self.centre) == (second > self.centre)

    def second_stands(self, first: float, second: float, error: float) -> bool:
        """Which of two measurements of a night counts: the second, because the first was picked for being far out.

        Only where both lie outside, and further apart than blocks of standard error ``error`` explain, one of them is
        a spike; then the one nearer to the centre counts.
        """
        if not self.outside(second) or abs(first - second) <= APART * math.sqrt(2) * error:
            return True
        return abs(second - self.centre) <= abs(first - self.centre)


def predict(
    values: Sequence[float] | Floats, errors: Sequence[float] | Floats, starts: Sequence[int] = ()
) -> Prediction | None:
    """The prediction for the night after ``values``; None while the regime has fewer than three nights.

    ``values``: log-ratio of each night; ``errors``: its standard error from the blocks of that night; ``starts``: where
    the known changes began.
    """
    nights = np.asarray(values, dtype=np.float64)
    begin = max(starts, default=0)
    regime = nights[begin:][-WINDOW:]
    if regime.size < FEWEST_NIGHTS:
        return None
    noise = _noise(_levels(nights, starts), _prior_sd(errors))
    spread = noise.sd * math.sqrt(1 + _variance_of_level(regime.size))
    return Prediction(median(regime), spread, noise.df)


def judge(
    values: Sequence[float] | Floats,
    errors: Sequence[float] | Floats,
    starts: Sequence[int] = (),
    confirmed: bool = False,
    changed: bool = False,
) -> Change | None:
    """The change that the last of ``values`` brings to light, if any; ``starts`` are those known before.

    ``confirmed``: the last night lay outside its prediction interval, was measured again in fresh processes, and lay
    there again. ``changed``: some version or fact is not what it was the night before.

    Raises:
        ValueError: no night, unequal lengths, or a value that is not finite.
    """
    nights, scatter = _checked(values, errors)
    return _judge(nights, scatter, starts, _settled(nights, starts), confirmed and changed)


def _checked(values: Sequence[float] | Floats, errors: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    nights = np.asarray(values, dtype=np.float64)
    scatter = np.asarray(errors, dtype=np.float64)
    if nights.ndim != 1 or nights.size == 0 or nights.shape != scatter.shape:
        raise ValueError(
            f"{nights.size} nights with {scatter.size} standard errors; need as many of both, and one at least"
        )
    bad = np.flatnonzero(~(np.isfinite(nights) & np.isfinite(scatter) & (scatter >= 0)))
    if bad.size:
        raise ValueError(
            f"night {bad[0]} is {nights[bad[0]]} with standard error {scatter[bad[0]]}; both must be finite"
        )
    return nights, scatter


def _judge(nights: Floats, scatter: Floats, starts: Sequence[int], settled: Settled, reason: bool) -> Change | None:
    """``judge``, with the settled nights already looked at; ``reason``: tonight alone may be enough."""
    begin = max(starts, default=0)
    regime = nights[begin:]
    prior = _prior_sd(scatter)
    for found in (_step(regime, settled, prior), _drift(regime, settled, prior)):
        if found is not None:
            return Change(found.kind, found.first + begin, found.size, found.strength)
    return _tonight(nights, scatter, starts) if reason else None


def changes(
    values: Sequence[float] | Floats,
    errors: Sequence[float] | Floats,
    confirmed: Sequence[bool] = (),
    changed: Sequence[bool] = (),
    known: Sequence[tuple[int, Change]] = (),
    judged: int = 0,
) -> list[tuple[int, Change]]:
    """Every change of a history as it would have been found: (index of the night that found it, change).

    Night by night with what was known then: a later night never takes an alarm back. So the first ``judged`` nights,
    in which ``known`` was found, need no second look. The same as ``judge`` on every night, which is asked only on the
    nights that could say something (``_Medians``): ten years are judged in time that grows with the nights.

    Raises:
        ValueError: as ``judge``.
    """
    found = list(known)
    if len(values) == judged:
        return found
    nights, scatter = _checked(values, errors)
    medians = _Medians(nights, judged)
    reasons = np.zeros(nights.size, dtype=bool)
    for last, (again, other) in enumerate(zip(confirmed, changed, strict=False)):
        reasons[last] = again and other
    starts = starts_of(found)
    settled = _settled(nights, starts)
    asked = reasons | medians.tell(max(starts, default=0))
    for last in range(judged, nights.size):
        if not asked[last]:
            continue
        change = _judge(nights[: last + 1], scatter[: last + 1], starts, settled, bool(reasons[last]))
        if change is not None:
            found.append((last, change))
            starts = starts_of(found)
            settled = _settled(nights, starts)
            asked = reasons | medians.tell(max(starts, default=0))
    return found


def starts_of(found: Iterable[tuple[int, Change]]) -> list[int]:
    """Where the regimes after the given changes begin; a drift is over only as far as the nights that showed it."""
    return [night - FEWEST_NIGHTS + 1 if change.kind == "drift" else change.first for night, change in found]


# --- the tests -------------------------------------------------------------------------------------------------------


def _tonight(nights: Floats, scatter: Floats, starts: Sequence[int]) -> Change | None:
    prediction = predict(nights[:-1], scatter[:-1], starts)
    if prediction is None or not prediction.outside(float(nights[-1]), TONIGHT_LEVEL):
        return None
    size = float(nights[-1]) - prediction.centre
    return Change("tonight", nights.size - 1, size, abs(size) / prediction.sd) if abs(size) >= SMALLEST else None


class _Medians:
    """The medians of the 3 to 57 nights that end with each night: all that a step or a drift is first asked for.

    Which nights a regime has makes no difference to them, so they are found once for a series. ``_step`` and ``_drift``
    ask for two medians that differ by ``SMALLEST``; ``tell`` asks the same of the same numbers.
    """

    def __init__(self, nights: Floats, judged: int = 0) -> None:
        """For the nights from number ``judged`` on."""
        self._nights = nights
        self._judged = judged
        self._offset = max(0, judged + 1 - WINDOW)
        recent = nights[self._offset :]
        self._of = trailing_medians(recent, WINDOW - FEWEST_NIGHTS)  # [how many, the last night]
        self._full = np.zeros(recent.size, dtype=bool)  # can be a step in a regime of WINDOW nights or more
        for after in range(FEWEST_NIGHTS, WINDOW - FEWEST_NIGHTS + 1):
            differences = self._of[after, WINDOW - 1 :] - self._of[WINDOW - after, WINDOW - 1 - after : -after]
            self._full[WINDOW - 1 :] |= np.abs(differences) >= SMALLEST

    def tell(self, begin: int) -> npt.NDArray[np.bool_]:
        """Which nights of the regime that began at ``begin`` can be a step or a drift at all; one for each night."""
        told = np.zeros(self._nights.size, dtype=bool)
        whole = begin + WINDOW - 1  # the first night with a full window behind it
        for last in range(max(self._judged, begin + 2 * FEWEST_NIGHTS - 1), min(whole, told.size)):
            told[last] = self._tells_early(begin, last)
        first = max(self._judged, whole)
        if first < told.size:
            newest = self._of[FEWEST_NIGHTS, first - self._offset :]
            drifted = np.abs(newest - self._anchor(begin, WINDOW)) >= SMALLEST
            told[first:] = self._full[first - self._offset :] | drifted
        return told

    def _tells_early(self, begin: int, last: int) -> bool:
        """``tell`` of a night while the regime has fewer than ``WINDOW`` nights."""
        size, row = last + 1 - begin, last - self._offset
        after = np.arange(FEWEST_NIGHTS, size - FEWEST_NIGHTS + 1)
        differences = self._of[after, row] - self._of[size - after, row - after]
        newest = float(self._of[FEWEST_NIGHTS, row])
        return bool(np.abs(differences).max() >= SMALLEST) or abs(newest - self._anchor(begin, size)) >= SMALLEST

    def _anchor(self, begin: int, size: int) -> float:
        return median(self._nights[begin : begin + min(ANCHOR_NIGHTS, size - FEWEST_NIGHTS)])


def _step(regime: Floats, settled: Settled, prior_sd: float) -> Change | None:
    """PELT's split that tells most. PELT takes most of the time and is asked only when some split tells at all."""
    recent = regime[-WINDOW:]
    before, after = _running_medians(recent), _running_medians(recent[::-1])[::-1]
    tested: dict[int, Change] = {}
    for split in range(FEWEST_NIGHTS, recent.size - FEWEST_NIGHTS + 1):
        # A cheap look first: most splits of most nights show nothing.
        if abs(after[split] - before[split - 1]) >= SMALLEST:
            change = _shift("step", recent[:split], recent[split:], split, settled, prior_sd)
            if change is not None:
                tested[split] = change
    if not tested:
        return None
    # The noise around the two levels: taken around one, the step itself would pass for noise and raise the penalty.
    split = max(tested, key=lambda split: tested[split].strength)
    noise = _noise([recent[:split], recent[split:]], prior_sd, settled)
    proposed = [tested[split] for split in breaks(recent, noise.sd) if split in tested]
    if not proposed:
        return None
    best = max(proposed, key=lambda change: change.strength)
    return Change("step", best.first + regime.size - recent.size, best.size, best.strength)


def _running_medians(values: Floats) -> list[float]:
    """The median of the first 1, 2, ... values."""
    ordered: list[float] = []
    found = []
    for count, value in enumerate(values.tolist(), start=1):
        bisect.insort(ordered, value)
        found.append((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
    return found


def _drift(regime: Floats, settled: Settled, prior_sd: float) -> Change | None:
    """The last three nights against the anchor. The nights between say nothing about noise: they may be on the way."""
    anchor = regime[: min(ANCHOR_NIGHTS, regime.size - FEWEST_NIGHTS)]
    if anchor.size < FEWEST_NIGHTS:
        return None
    return _shift("drift", anchor, regime[-FEWEST_NIGHTS:], anchor.size, settled, prior_sd)


def _shift(kind: str, before: Floats, after: Floats, first: int, settled: Settled, prior_sd: float) -> Change | None:
    """The shift between two groups of nights: where it is large, significant and shared by most of the second."""
    old, new = median(before), median(after)
    size = new - old
    if abs(size) < SMALLEST:
        return None
    beyond = np.count_nonzero((after - (old + new) / 2) * size > 0)
    if beyond < max(FEWEST_NIGHTS, SHARE_BEYOND * after.size):
        return None
    noise = _noise([before, after], prior_sd, settled)
    error = noise.sd * math.sqrt(_variance_of_level(before.size) + _variance_of_level(after.size))
    strength = abs(size) / error
    needed = max(FEWEST_STANDARD_ERRORS, t_quantile(1 - SHIFT_LEVEL / 2, noise.df))
    return Change(kind, first, size, strength) if strength > needed else None


def breaks(values: Floats, noise_sd: float) -> list[int]:
    """PELT's change points (the first index of every level but the first) with the l1 cost; see ``PENALTY``."""
    if values.size < 2 * FEWEST_NIGHTS:
        return []
    return segments(values, PENALTY * noise_sd * math.log(values.size), FEWEST_NIGHTS)


# --- the noise -------------------------------------------------------------------------------------------------------


def _levels(nights: Floats, starts: Sequence[int]) -> list[Floats]:
    """The nights of each regime."""
    return [part for part in np.split(nights, sorted(set(starts))) if part.size]


def _prior_sd(errors: Sequence[float] | Floats) -> float:
    """What a night's noise should be by the scatter of its blocks and what nights are assumed to differ by."""
    scatter = np.asarray(errors, dtype=np.float64)
    within = median(scatter) if scatter.size else 0.0
    return math.hypot(within, BETWEEN_NIGHTS_SD)


def _settled(nights: Floats, starts: Sequence[int]) -> Settled:
    """What the nights before the last of ``starts`` say."""
    levels = _levels(nights[: max(starts, default=0)], starts[:-1])
    return Settled(_residuals(levels), sum(_inflation(level.size) for level in levels))


def _residuals(levels: Sequence[Floats]) -> Floats:
    return np.concatenate([level - median(level) for level in levels]) if levels else np.empty(0)


def _noise(levels: Sequence[Floats], prior_sd: float, settled: Settled = NOTHING_SETTLED) -> Noise:
    """The nights' own scatter around the median of their level, weighed with the prior as variances are.

    Residuals count up to ``SPIKE`` robust standard deviations (spikes hardly widen the noise), and what fitted levels
    take away from the scatter of autocorrelated nights is given back.
    """
    residuals = np.concatenate([settled.residuals, _residuals(levels)])
    taken = sum((_inflation(level.size) for level in levels), settled.taken)
    weight = max(0.0, residuals.size - taken)
    if weight == 0:
        return Noise(prior_sd, PRIOR_NIGHTS)
    limit = SPIKE * 1.4826 * median(np.abs(residuals))
    own = float((np.minimum(np.abs(residuals), limit) ** 2).sum()) / WITHIN_BOUND
    df = PRIOR_NIGHTS + weight
    return Noise(math.sqrt((PRIOR_NIGHTS * prior_sd**2 + own) / df), df)


@lru_cache(maxsize=1024)
def _inflation(nights: int) -> float:
    """Variance of the mean of that many autocorrelated nights, over that of independent ones."""
    return 1 + 2 * sum((1 - lag / nights) * AUTOCORRELATION**lag for lag in range(1, nights))


def _variance_of_level(nights: int) -> float:
    """Variance of the median of that many autocorrelated nights, for nights of variance 1."""
    return MEDIAN_VARIANCE * _inflation(nights) / nights
