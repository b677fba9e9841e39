"""How often the nightly decision errs, and how soon it finds a step: seeded nights through ``bench.changepoints``.

A night here is what it is there: measured, measured again when it lies outside its prediction, judged. For
``twinbench selftest`` and for ``python -m benchmarks.nightly_rates``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.changepoints import BETWEEN_NIGHTS_SD, Change, judge, predict, starts_of
from bench.evidence import Duets
from bench.verdict import ALPHA

#: What a night measures: (log-ratio, standard error); called again when the night is measured again.
Measure = Callable[[int], tuple[float, float]]
#: Makes the nights of one trial from its random state.
Nights = Callable[[np.random.RandomState, int], Measure]

#: Scatter of the mean of 20 blocks of the recorded duets, CPU time, by an earlier pairing of bursts. The estimate
#: that a night uses scatters less (0.0053; 0.0084 on wall time); what is simulated stays the harder case.
WITHIN_SD = 0.0087
#: A night altogether: the blocks' scatter, and what the decision assumes between nights.
NIGHT_SD = math.hypot(WITHIN_SD, BETWEEN_NIGHTS_SD)
AUTOCORRELATION = 0.6
#: Spikes: so many nights have one, of so many standard deviations, to either side.
SPIKE_SHARE, SPIKE_SDS = 0.05, (5.0, 15.0)
#: Nights before a step in ``nights_to_find``; a step counts as found within so many nights.
NIGHTS_BEFORE = 20
FOUND_WITHIN = 5


@dataclass(frozen=True)
class AlarmRate:
    """Of ``series`` series without any change, ``alarmed`` gave an alarm of either direction within ``nights`` nights.

    ``alarms``: all of them together. ``remeasured``: nights that were measured twice, a series.
    """

    series: int
    nights: int
    alarmed: int
    alarms: int
    remeasured: float

    @property
    def share(self) -> float:
        """The share of series with an alarm."""
        return self.alarmed / self.series

    @property
    def per_100_nights(self) -> float:
        """Alarms in 100 nights of one series."""
        return 100 * self.alarms / (self.series * self.nights)


@dataclass(frozen=True)
class Finding:
    """Nights until a step was found in each of ``series``: 1 is the first night with it, None not within 30."""

    step: float
    nights: tuple[int | None, ...]

    def within(self, nights: int = FOUND_WITHIN) -> float:
        """The share that was found within so many nights."""
        return sum(one is not None and one <= nights for one in self.nights) / len(self.nights)

    @property
    def median(self) -> float:
        """The median; infinite where most were not found."""
        return float(np.median([math.inf if one is None else one for one in self.nights]))


# --- nights ----------------------------------------------------------------------------------------------------------


def white(sd: float = NIGHT_SD, within_sd: float = WITHIN_SD) -> Nights:
    """Independent nights. All of ``sd`` lasts the whole night: measuring again says the same, the worst case."""

    def make(random: np.random.RandomState, count: int) -> Measure:
        levels = random.normal(0, sd, count)
        return lambda night: (float(levels[night]), within_sd)

    return make


def autocorrelated(sd: float = NIGHT_SD, within_sd: float = WITHIN_SD, lag_1: float = AUTOCORRELATION) -> Nights:
    """Nights that resemble the night before; as ``white`` otherwise."""

    def make(random: np.random.RandomState, count: int) -> Measure:
        levels = np.empty(count)
        levels[0] = random.normal(0, sd)
        for night in range(1, count):
            levels[night] = lag_1 * levels[night - 1] + random.normal(0, sd * math.sqrt(1 - lag_1**2))
        return lambda night: (float(levels[night]), within_sd)

    return make


def spiky(sd: float = NIGHT_SD, within_sd: float = WITHIN_SD, lasting: bool = False) -> Nights:
    """White, and a spike now and then: in one measurement, or ``lasting`` the whole night."""

    def make(random: np.random.RandomState, count: int) -> Measure:
        base = white(sd, within_sd)(random, count)

        def spike() -> float:
            if random.random_sample() >= SPIKE_SHARE:
                return 0.0
            return float(random.choice([-1, 1]) * sd * random.uniform(*SPIKE_SDS))

        kept = [spike() for _ in range(count)] if lasting else []
        return lambda night: (base(night)[0] + (kept[night] if lasting else spike()), within_sd)

    return make


def recorded(duets: Duets, blocks: int = 20, in_a_row: bool = False) -> Nights:
    """Nights of ``blocks`` blocks drawn from recorded duets of identical code, estimated as ``twinbench nightly`` does.

    ``in_a_row``: blocks that ran one after the other, with what they have in common.

    Raises:
        ValueError: no block.
    """
    if not duets.blocks:
        raise ValueError("no recorded block to draw nights from")
    # The two sides are the same program: what is left over is chance.
    pairs = duets.shifted(-duets.estimate(ALPHA, 0.0).log).pairs

    def make(random: np.random.RandomState, count: int) -> Measure:
        def measure(night: int) -> tuple[float, float]:
            if in_a_row:
                drawn = (random.randint(len(pairs)) + np.arange(blocks)) % len(pairs)
            else:
                drawn = random.randint(len(pairs), size=blocks)
            found = Duets(tuple(pairs[index] for index in drawn)).estimate(ALPHA, 0.0)
            return found.log, found.error or 0.0

        return measure

    return make


# --- rates -----------------------------------------------------------------------------------------------------------


def alarms_per_100_nights(
    nights: Nights, series: int = 400, count: int = 100, seed: int = 1, changed: bool = False
) -> AlarmRate:
    """How often nights without any change alarm; ``changed``: as if another version came every night."""
    alarmed = alarms = again = 0
    for trial in range(series):
        random = np.random.RandomState([seed, trial])
        found, doubted = watch(nights(random, count), count, changed=lambda night: changed)
        alarmed += bool(found)
        alarms += len(found)
        again += doubted
    return AlarmRate(series, count, alarmed, alarms, again / series)


def nights_to_find(
    nights: Nights,
    step: float,
    series: int = 400,
    before: int = NIGHTS_BEFORE,
    seed: int = 2,
    released: bool = True,
    longest: int = 30,
) -> Finding:
    """Nights until ``step`` (0.1: it takes 10 % longer) is found, after ``before`` nights without it.

    ``released``: the step comes with another version, so that one night may be enough. What alarms before the step is
    no find.
    """
    found: list[int | None] = []
    for trial in range(series):
        random = np.random.RandomState([seed, trial])
        count = before + longest
        changes, _ = watch(
            nights(random, count),
            count,
            shift=lambda night: -math.log1p(step) if night >= before else 0.0,
            changed=lambda night: released and night == before,
            until=before,
        )
        found.append(
            next((night - before + 1 for night, change in changes if night >= before and change.size < 0), None)
        )
    return Finding(step, tuple(found))


def watch(
    measure: Measure,
    count: int,
    shift: Callable[[int], float] = lambda night: 0.0,
    changed: Callable[[int], bool] = lambda night: False,
    until: int | None = None,
) -> tuple[list[tuple[int, Change]], int]:
    """``count`` nights one after the other: (night that found it, change), and how many were measured again.

    ``shift`` is added to the log-ratio of a night. With ``until``, it ends with the first change found from then on.
    """
    values: list[float] = []
    errors: list[float] = []
    found: list[tuple[int, Change]] = []
    doubted = 0
    for night in range(count):
        value, error = measure(night)
        expected = predict(values, errors, starts_of(found))
        confirmed = False
        if expected is not None and expected.outside(value + shift(night)):
            doubted += 1
            first, second = (value, error), measure(night)
            both = first[0] + shift(night), second[0] + shift(night)
            confirmed = expected.confirmed(*both)
            value, error = second if expected.second_stands(*both, second[1]) else first
        values.append(value + shift(night))
        errors.append(error)
        change = judge(values, errors, starts_of(found), confirmed, changed(night))
        if change is not None:
            found.append((night, change))
            if until is not None and night >= until:
                break
    return found, doubted
