"""The rates of nights for ``twinbench selftest``: alarms where nothing changed, and nights to find a step.

The nights themselves are simulated by ``bench.night_rates``, which runs them through the code that judges a night.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import night_rates
from bench.rates import Rate, Trials

#: Nights of a series in which nothing happens.
COUNT = 100
#: So many take a minute; more are for ``python -m benchmarks.nightly_rates``.
MOST_SERIES = 200
#: Steps that must be found within five nights, and in which share of series (issue 6).
STEPS = ((0.05, 0.80), (0.10, 0.95))
KINDS = (
    ("white", night_rates.white),
    ("spiky", night_rates.spiky),
    ("autocorrelated 0.6", night_rates.autocorrelated),
)


def rates(trials: Trials) -> Iterator[Rate]:
    """Series of nights that are white, spiky or autocorrelated: a series a trial, ``MOST_SERIES`` at most."""
    series = min(trials.count, MOST_SERIES)
    for name, make in KINDS:
        source = f"simulated nights: {name}"
        quiet = night_rates.alarms_per_100_nights(make(), series, COUNT, trials.seed + 1)
        yield Rate(
            "twinbench nightly", source, "alarmed", 0.0, "simulated", COUNT, quiet.alarmed, series,
            demand=(0.0, 0.02), aside=("alarms per 100 nights", quiet.per_100_nights),
        )  # fmt: skip
        for step, least in STEPS:
            found = night_rates.nights_to_find(make(), step, series, seed=trials.seed + 2, released=False)
            hits = round(found.within() * series)
            yield Rate(
                "twinbench nightly", source, "found in time", step, "simulated", night_rates.FOUND_WITHIN, hits, series,
                demand=(least, 1.0),
                aside=("median nights to find it", found.median),
            )  # fmt: skip
