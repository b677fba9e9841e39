"""How other tools decide that a benchmark changed, rebuilt from their documentation. Not their code; pure.

Each takes two runs, B after A, of which every one is a list of processes with their iteration times in ns, and says
whether the tool would report a change. A recorded process is 0.3 s of work, so a run of a tool that measures one
process for five seconds is made of seventeen that ran one after the other. SciPy is imported where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats import Floats, t_quantile

Run = Sequence[Floats]


@dataclass(frozen=True)
class Rival:
    """``processes`` is how many recorded ones stand for one run; ``source`` says where the rule is documented."""

    name: str
    processes: int
    changed: Callable[[Run, Run, np.random.RandomState], bool]
    source: str


def _values(run: Run, count: int) -> Floats:
    """Every process cut into ``count`` consecutive parts, the mean of each: what the tools call a value or a sample."""
    return np.array([part.mean() for times in run for part in np.array_split(times, min(count, times.size))])


def _one(run: Run) -> Run:
    """The processes of a run as a single long one."""
    return [np.concatenate(run)]


def pyperf(a: Run, b: Run, random: np.random.RandomState) -> bool:
    """Student's two-sided t test with pooled variance at 95 %, over 20 processes of three values."""
    x, y = _values(a, 3), _values(b, 3)
    pooled = ((x.size - 1) * x.var(ddof=1) + (y.size - 1) * y.var(ddof=1)) / (x.size + y.size - 2)
    error = math.sqrt(pooled * (1 / x.size + 1 / y.size))
    return bool(error > 0 and abs(x.mean() - y.mean()) / error >= t_quantile(0.975, x.size + y.size - 2))


def pytest_benchmark(a: Run, b: Run, random: np.random.RandomState) -> bool:
    """``--benchmark-compare-fail=mean:5%``: the mean over the rounds of one second grew by more than 5 %."""
    return bool(np.concatenate(b).mean() > 1.05 * np.concatenate(a).mean())


def asv(a: Run, b: Run, random: np.random.RandomState) -> bool:
    """``asv continuous``: Mann-Whitney's U test at 0.002 over two processes of ten samples, and medians 1.1 apart."""
    x, y = _values(a, 10), _values(b, 10)
    ratio = float(np.median(y) / np.median(x))
    return _mann_whitney(x, y) < 0.002 and max(ratio, 1 / ratio) > 1.1


def google_benchmark(a: Run, b: Run, random: np.random.RandomState) -> bool:
    """``compare.py`` with its U test: Mann-Whitney, two-sided, at 0.05 over nine repetitions of half a second."""
    return _mann_whitney(_values(_one(a), 9), _values(_one(b), 9)) < 0.05


def criterion(a: Run, b: Run, random: np.random.RandomState, resamples: int = 1000) -> bool:
    """A bootstrapped t test at 0.05 on 100 samples of five seconds, and the change beyond the noise threshold.

    ``changed`` needs the whole 95 % interval of the relative change of the mean beyond 1 %. The tool resamples 100,000
    times.
    """
    x, y = _values(_one(a), 100), _values(_one(b), 100)
    both = np.concatenate([x, y])
    first, second = (both[random.randint(both.size, size=(resamples, size))] for size in (x.size, y.size))
    t = abs(_t(x[None, :], y[None, :])[0])
    if float((np.abs(_t(first, second)) > t).mean()) >= 0.05:
        return False
    means = [values[random.randint(values.size, size=(resamples, values.size))].mean(axis=1) for values in (x, y)]
    low, high = np.quantile(means[1] / means[0] - 1, (0.025, 0.975))
    return bool(low > 0.01 or high < -0.01)


def _t(x: Floats, y: Floats) -> Floats:
    error = np.sqrt(x.var(axis=1, ddof=1) / x.shape[1] + y.var(axis=1, ddof=1) / y.shape[1])
    result: Floats = (x.mean(axis=1) - y.mean(axis=1)) / np.maximum(error, 1e-300)
    return result


def _mann_whitney(x: Floats, y: Floats) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(x, y, alternative="two-sided").pvalue)


RIVALS: Mapping[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival("pyperf", 20, pyperf, "pyperf.readthedocs.io, compare_to; defaults of Runner"),
        Rival("pytest-benchmark mean:5%", 3, pytest_benchmark, "pytest-benchmark.readthedocs.io, comparing"),
        Rival("asv", 2, asv, "asv.readthedocs.io, asv continuous; benchmark attributes"),
        Rival("google-benchmark U test", 15, google_benchmark, "google/benchmark docs/tools.md, U test"),
        Rival("criterion", 17, criterion, "criterion.rs book, analysis process: comparison"),
    )
}
