"""Replays of recorded noise through our rules and through those of well-known tools, all seeded.

Used by ``tests/test_noise_replay.py``, which holds the rates, and by ``benchmarks/noise_replay.py``, which prints them.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.compare import block_pairs
from bench.evidence import Duets
from bench.record import Bursts, Fence, Measurement, Scaling, WarmUp
from bench.stats import Floats, interval, t_quantile
from bench.verdict import MARGIN, judge, looks_within

NOISE = Path(__file__).parent / "data" / "noise"
#: The slower programs of the duets, and by how much more work they do.
VARIANTS = {"A2": "identical", "B5": "+5 %", "B10": "+10 %"}


@dataclass(frozen=True)
class Rate:
    """How often something happened in seeded trials."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """The share."""
        return self.hits / self.trials

    @property
    def standard_error(self) -> float:
        """Of the share, for independent trials; resampled trials share their data, which this does not count."""
        return math.sqrt(self.value * (1 - self.value) / self.trials)

    def __str__(self) -> str:
        return f"{self.value:6.1%} ± {self.standard_error:.1%}"


def rate(outcomes: Iterator[bool]) -> Rate:
    """Count."""
    seen = list(outcomes)
    return Rate(sum(seen), len(seen))


def read(name: str) -> list[dict[str, Any]]:
    """One recording."""
    with gzip.open(NOISE / name, "rt") as lines:
        return [json.loads(line) for line in lines]


@cache
def processes() -> tuple[Floats, ...]:
    """Iteration times in ns of each of the 480 processes."""
    return tuple(np.array(row["v"], dtype=float) for row in read("base.jsonl.gz"))


@cache
def medians() -> Floats:
    """Process medians in ns, in the order in which they ran."""
    return np.array([np.median(times) for times in processes()])


def measurement(rounds: list[list[list[int]]], place: int) -> Measurement:
    """A side of a recorded block as the harness would have written it: an iteration is a burst, a round is a turn.

    The order of the sides within a round was random and is not recorded; here it is always that of ``place``.
    """
    walls = [wall for wall, _ in rounds]
    started = [(2 * number + place) * 1000 + index for number, wall in enumerate(walls) for index in range(len(wall))]
    bursts = Bursts(
        iterations=[1] * len(started),
        wall_ns=[ns for wall in walls for ns in wall],
        cpu_ns=[ns for _, cpu in rounds for ns in cpu],
        foreign_cpu_ns=[None] * len(started),
        started_ns=started,
    )
    return Measurement(
        item="product",
        items_per_iteration=1,
        flops_per_iteration=None,
        bytes_per_iteration=None,
        bursts=bursts,
        latency_ns=[],
        warm_up=WarmUp(3, 1, True),
        fence=Fence("barrier", 1, 1, 1),
        scaling=Scaling(3, 3.0),
        gemm_flops_per_s=None,
        copy_bytes_per_s=None,
        calibration_before_ns=[],
        calibration_after_ns=[],
    )


@cache
def duets(variant: str, clock: str) -> Duets:
    """The recorded blocks of A against ``variant``, as the product reads them."""
    return Duets(
        tuple(
            block_pairs(measurement(row["rec"]["A"], 0), measurement(row["rec"][variant], 1), clock)
            for row in read("duet.jsonl.gz")
        )
    )


def drawn(variant: str, clock: str, blocks: int, trials: int, seed: int = 2) -> Iterator[Duets]:
    """Blocks resampled, one set a trial."""
    random = np.random.RandomState(seed)
    pairs = duets(variant, clock).pairs
    for _ in range(trials):
        yield Duets(tuple(pairs[index] for index in random.randint(len(pairs), size=blocks)))


# ---- intervals -------------------------------------------------------------------------------------------------------


def coverage(count: int, trials: int, seed: int = 1) -> Rate:
    """How often the 95 % interval of ``count`` random processes holds the geometric mean of all 480."""
    return _coverage(count, trials, seed, lambda chosen: interval(medians()[chosen]))


def coverage_of_iterations(count: int, trials: int, seed: int = 1) -> Rate:
    """The same for an interval that takes iterations, not processes, for the sampling unit: the classic mistake."""
    return _coverage(count, trials, seed, lambda chosen: interval(np.concatenate([processes()[i] for i in chosen])))


def coverage_back_to_back(count: int, trials: int, seed: int = 1) -> Rate:
    """The same as ``coverage`` for processes that ran one after the other: one session, not a random sample."""
    return _coverage(count, trials, seed, lambda chosen: interval(medians()[chosen]), in_a_row=True)


def _coverage(count: int, trials: int, seed: int, estimate: Callable[[Any], Any], in_a_row: bool = False) -> Rate:
    random = np.random.RandomState(seed)
    truth = float(np.exp(np.log(medians()).mean()))

    def one() -> bool:
        if in_a_row:
            chosen = random.randint(medians().size - count + 1) + np.arange(count)
        else:
            chosen = random.choice(medians().size, count, replace=False)
        found = estimate(chosen)
        return bool(found.low <= truth <= found.high)

    return rate(one() for _ in range(trials))


# ---- our verdicts ----------------------------------------------------------------------------------------------------


def flagged(variant: str, clock: str, blocks: int, trials: int, seed: int = 2, margin: float = MARGIN) -> Rate:
    """How often ``judge`` says faster or slower of ``blocks`` resampled blocks: A against the variant."""
    looks = looks_within(blocks)
    samples = drawn(variant, clock, blocks, trials, seed)
    return rate(judge(sample, margin, looks).word in ("faster", "slower") for sample in samples)


def simulated(
    decider: Callable[[Floats], str], effect: float, trials: int, seed: int = 3, blocks: int = 32, sd: float = 0.04
) -> dict[str, Rate]:
    """Words for blocks of lognormal noise around ``effect`` (a log-ratio): the rate of each word."""
    random = np.random.RandomState(seed)
    words = [decider(random.normal(effect, sd, blocks)) for _ in range(trials)]
    return {word: Rate(words.count(word), trials) for word in ("faster", "slower", "same", "inconclusive")}


def naive(logs: Floats, looks: tuple[int, ...] = (8, 16, 32)) -> str:
    """The saboteur: 1.96 standard errors at every look, as if each were the only one."""
    for look in looks:
        mean, error = logs[:look].mean(), logs[:look].std(ddof=1) / math.sqrt(look)
        if abs(mean) > 1.96 * error:
            return "faster" if mean > 0 else "slower"
    return "inconclusive"


# ---- the rules of others, on the same recordings ---------------------------------------------------------------------


def pyperf_flags(slowdown: float, trials: int, seed: int = 4, count: int = 20, values: int = 3) -> Rate:
    """pyperf's ``compare_to``: Student's pooled two-sided t test at 95 % on all values of two back-to-back runs.

    A run is 20 processes of 3 values, pyperf's defaults; a value is the mean of a third of a recorded process. The
    second run is ``slowdown`` slower.
    """
    random = np.random.RandomState(seed)
    table = np.array([[third.mean() for third in np.array_split(times, values)] for times in processes()])

    def one() -> bool:
        start = random.randint(len(table) - 2 * count + 1)
        a = table[start : start + count].ravel()
        b = table[start + count : start + 2 * count].ravel() * (1 + slowdown)
        pooled = (a.var(ddof=1) + b.var(ddof=1)) / 2
        t = (a.mean() - b.mean()) / math.sqrt(pooled * 2 / a.size)
        return bool(abs(t) >= t_quantile(0.975, 2 * a.size - 2))

    return rate(one() for _ in range(trials))


def pytest_benchmark_flags(slowdown: float, trials: int, seed: int = 5) -> Rate:
    """``--benchmark-compare-fail mean:5%``: the second of two back-to-back processes has a mean 5 % or more above."""
    random = np.random.RandomState(seed)
    means = np.array([times.mean() for times in processes()])

    def one() -> bool:
        start = random.randint(means.size - 1)
        return bool(means[start + 1] * (1 + slowdown) > 1.05 * means[start])

    return rate(one() for _ in range(trials))
