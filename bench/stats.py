"""Estimates and their uncertainty: pure functions on numbers that know nothing of records.

The sampling unit is a fresh process: iterations of one process share its memory layout, clock and neighbours, so their
scatter says nothing about the next process. Times and rates are positive and their noise multiplies, so everything is
done on logarithms. What the choices gave on recorded noise stands in ``docs/statistics.md``.

SciPy is imported inside the functions that need it, because the command line starts without it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
#: Student's t with so many degrees of freedom is the normal distribution.
MOST_DF = 1e6


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; low and high are None where one process cannot give any."""

    estimate: float
    low: float | None
    high: float | None
    confidence: float = 0.95


@dataclass(frozen=True)
class LogSample:
    """Mean of logs, variance of that mean, and its degrees of freedom; ``df`` 0 when the variance is unknown."""

    mean: float
    variance: float
    df: float


@dataclass(frozen=True)
class GeometricMean:
    """A geometric mean over cells: the interval, the cells that are in it, and those that are not with the reason.

    ``shared_variance`` (of logs) is in the interval, for what all cells have in common.
    """

    interval: Interval | None
    included: tuple[Hashable, ...]
    excluded: tuple[tuple[Hashable, str], ...]
    shared_variance: float = 0.0

    @property
    def meaning(self) -> str:
        """What the interval is about, for people."""
        if not self.shared_variance:
            return "over the choice of cells, not how well each was measured"
        return f"over the choice of cells and two sessions, {math.sqrt(self.shared_variance / 2):.2g} of log time each"


def checked(values: Sequence[float] | Floats, what: str = "value") -> Floats:
    """The values as a float array, shape (n,).

    Raises:
        ValueError: none given, or one is zero, negative, NaN or infinite; names it and its position.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"no {what} given (shape {array.shape})")
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise ValueError(f"{what} {bad[0]} is {array[bad[0]]}; it must be positive and finite")
    return array


def checked_logs(values: Sequence[float] | Floats, what: str = "log-ratio") -> Floats:
    """Like ``checked`` for logarithms, which may be negative or zero."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"no {what} given (shape {array.shape})")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"{what} {bad[0]} is {array[bad[0]]}; it must be finite")
    return array


def per_iteration(burst_ns: Sequence[float], iterations: Sequence[int]) -> Floats:
    """Time of one iteration in each burst, in ns, shape (bursts,).

    Raises:
        ValueError: unequal lengths, none, or one that is not positive.
    """
    if len(burst_ns) != len(iterations):
        raise ValueError(f"{len(burst_ns)} burst times for {len(iterations)} counts of iterations")
    result: Floats = checked(burst_ns, "burst time") / checked(iterations, "count of iterations")
    return result


def process_median(burst_ns: Sequence[float], iterations: Sequence[int]) -> float:
    """The figure of one process: the median over its bursts of the time of one iteration, in ns."""
    return float(np.median(per_iteration(burst_ns, iterations)))


def percentiles(values: Sequence[float], percents: Sequence[float] = (50.0, 90.0, 99.0)) -> tuple[float, ...]:
    """Percentiles by linear interpolation; with few values the high ones lean on the largest value alone."""
    bad = next((value for value in values if not 0 < value < math.inf), None)
    if bad is not None or not values:
        raise ValueError(f"percentiles of {bad}; values must be positive and finite" if values else "no value given")
    ordered = sorted(values)
    places = [percent / 100 * (len(ordered) - 1) for percent in percents]
    return tuple(
        ordered[int(place)] + (place % 1) * (ordered[math.ceil(place)] - ordered[int(place)]) for place in places
    )


@lru_cache(maxsize=4096)
def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def t_tail(t: float, df: float) -> float:
    """P(T > t) for Student's t."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def log_sample(values: Sequence[float] | Floats) -> LogSample:
    """The mean of the logs of positive values, with the variance of that mean (0 and df 0 for a single one)."""
    return sample_of_logs(np.log(checked(values)))


def sample_of_logs(logs: Floats) -> LogSample:
    """Like ``log_sample`` for values that are logarithms already; not empty."""
    if logs.size == 1:
        return LogSample(float(logs[0]), 0.0, 0.0)
    return LogSample(float(logs.mean()), float(logs.var(ddof=1)) / logs.size, float(logs.size - 1))


def interval_of(sample: LogSample, confidence: float = 0.95) -> Interval:
    """From logs back to a positive quantity; without degrees of freedom the estimate stands alone."""
    if sample.df == 0:
        return Interval(math.exp(sample.mean), None, None, confidence)
    half = t_quantile(0.5 + confidence / 2, sample.df) * math.sqrt(sample.variance)
    low, high = (math.exp(min(bound, 700.0)) for bound in (sample.mean - half, sample.mean + half))
    return Interval(math.exp(sample.mean), low, high, confidence)


def interval(values: Sequence[float] | Floats, confidence: float = 0.95) -> Interval:
    """exp(mean log) of process medians with the Student t interval of the logs; one process: the estimate only.

    Raises:
        ValueError: no value, or one that is not positive and finite.
    """
    return interval_of(log_sample(values), confidence)


def welch(a: LogSample, b: LogSample, extra_variance: float = 0.0) -> LogSample:
    """The difference of mean logs b - a with Welch's degrees of freedom.

    ``extra_variance`` is added to the variance of the difference as a known quantity (it carries no degrees of freedom
    of its own); ``df`` is 0 when either side has one value only.
    """
    if a.df == 0 or b.df == 0:
        return LogSample(b.mean - a.mean, 0.0, 0.0)
    variance = a.variance + b.variance + extra_variance
    spread = a.variance**2 / a.df + b.variance**2 / b.df
    # Identical values on both sides leave nothing to estimate: the bound is then the variance that was given.
    df = variance**2 / spread if spread > 0 else a.df + b.df
    return LogSample(b.mean - a.mean, variance, df)


def ratio_interval(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    confidence: float = 0.95,
    extra_variance: float = 0.0,
) -> Interval:
    """b / a for unpaired processes: Welch's t on logs. For rates, above 1 means that b is faster.

    Raises:
        ValueError: a side is empty or has a value that is not positive and finite.
    """
    return interval_of(welch(log_sample(a), log_sample(b), extra_variance), confidence)


def geometric_mean(
    values: Mapping[Any, float | None], confidence: float = 0.95, shared_variance: float = 0.0
) -> GeometricMean:
    """Geometric mean over cells of what is usable; the cells left out are returned, each with its reason.

    The interval treats the cells as a sample of such cells: it says how far the mean leans on the choice of cells, not
    how well each was measured. ``shared_variance`` is that of what moves the logs of all cells together (two sessions
    of a machine): more cells do not average it away, so the mean has all of it.
    """
    usable: dict[Hashable, float] = {}
    excluded: list[tuple[Hashable, str]] = []
    for key, value in values.items():
        if value is None:
            excluded.append((key, "no value"))
        elif not math.isfinite(value) or value <= 0:
            excluded.append((key, f"not a positive number: {value}"))
        else:
            usable[key] = value
    if not usable:
        return GeometricMean(None, (), tuple(excluded))
    sample = log_sample(list(usable.values()))
    if sample.df and shared_variance:
        # As in ``welch``: known, so without degrees of freedom of its own.
        variance = sample.variance + shared_variance
        df = sample.df * (variance / sample.variance) ** 2 if sample.variance > 0 else math.inf
        sample = LogSample(sample.mean, variance, min(df, MOST_DF))
    return GeometricMean(interval_of(sample, confidence), tuple(usable), tuple(excluded), shared_variance)


def session_sd(sessions: Sequence[Sequence[float]]) -> float:
    """Standard deviation of log time between sessions, beyond what the processes within each explain.

    One-way random effects by the method of moments: (mean square between - mean square within) / processes a session,
    floored at zero. ``sessions`` holds the process medians of each; all sessions must have the same size of 2 or more.

    Raises:
        ValueError: fewer than two sessions, or unequal or too small ones.
    """
    sizes = {len(session) for session in sessions}
    if len(sessions) < 2 or len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(f"need two or more sessions of one size >= 2, got {len(sessions)} of sizes {sorted(sizes)}")
    logs = np.log(np.array([checked(session) for session in sessions]))
    size = logs.shape[1]
    between = size * float(logs.mean(axis=1).var(ddof=1))
    within = float(logs.var(axis=1, ddof=1).mean())
    return math.sqrt(max(0.0, (between - within) / size))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    """Enough nodes for 1e-10; so few that NumPy does not start threads for them."""
    return np.polynomial.legendre.leggauss(48)


def crossing_probability(z: float, looks: tuple[int, ...]) -> float:
    """P(|mean of the first n| exceeds z standard errors at any n of ``looks``) when there is no effect.

    The recursive integration of Armitage, McPherson and Rowe (1969, J. R. Stat. Soc. A 132:235): the density of the sum
    that has not crossed so far is carried from look to look by Gauss-Legendre quadrature.
    """
    from scipy.special import ndtr

    if not looks or any(a >= b for a, b in zip((0, *looks), looks, strict=False)):
        raise ValueError(f"looks must be positive and ascending, got {looks}")
    if z > 6:  # rounding begins to show; the sum over looks is an upper bound
        return min(1.0, 2 * len(looks) * float(ndtr(-z)))
    nodes, weights = _quadrature()
    sums, mass, before = np.zeros(1), np.ones(1), 0
    for look in looks:
        bound, step = z * math.sqrt(look), math.sqrt(look - before)
        after = bound * nodes
        kernel = np.exp(-0.5 * ((after[:, None] - sums[None, :]) / step) ** 2) / (step * math.sqrt(2 * math.pi))
        sums, mass, before = after, bound * weights * (kernel @ mass), look
    return min(1.0, max(0.0, 1.0 - float(mass.sum())))


@lru_cache(maxsize=64)
def pocock_level(looks: tuple[int, ...], alpha: float = 0.05) -> float:
    """The two-sided level to use at every look so that all of them together err with probability ``alpha``.

    Pocock (1977, Biometrika 64:191) gives 0.0221 for three equally spaced looks at 5 %; looks that double carry less of
    each other's information and need a slightly smaller one. With few blocks it is used for Student's t as well
    (Pocock's own "significance level approach"); the tests simulate what that costs.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must lie between 0 and 1")
    z = brentq(lambda bound: crossing_probability(bound, looks) - alpha, 1e-3, 6.0, xtol=1e-10)
    return 2 * float(ndtr(-z))


def sequential_p(nominal: float, looks: tuple[int, ...]) -> float:
    """The p value of a whole sequence whose smallest two-sided p value at any look was ``nominal``."""
    from scipy.special import ndtri

    if nominal >= 1:
        return 1.0
    return crossing_probability(float(-ndtri(max(nominal, 1e-300) / 2)), looks)


def beyond_p(sample: LogSample, margin: float) -> float:
    """Two-sided p value of "the effect is larger than ``margin``" (a log), at the nearer edge of the band."""
    excess = abs(sample.mean) - margin
    if sample.variance == 0:
        return 0.0 if excess > 0 else 1.0
    return min(1.0, 2 * t_tail(excess / math.sqrt(sample.variance), sample.df))
