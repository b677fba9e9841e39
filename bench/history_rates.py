"""The rates of nights for ``twinbench selftest``: alarms where nothing changed, and steps found in time.

The nights themselves are simulated by ``bench.night_rates``, which runs them through the code that judges a night.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from bench.rates import Rate, Trials

#: The module that knows nights; an installation without it says "not measured".
NIGHTS = "bench.night_rates"
#: Nights of a series in which nothing happens.
COUNT = 100
#: Steps that must be found within five nights, and in which share of series (issue 6).
STEPS = ((0.05, 0.80), (0.10, 0.95))
WITHIN = 5


def missing() -> str | None:
    """Why there are no such rates here; None where there are."""
    for module in (NIGHTS, "ruptures"):
        if importlib.util.find_spec(module) is None:
            return f"alarms per {COUNT} nights and nights to find a step: there is no {module} here"
    return None


def rates(trials: Trials) -> Iterator[Rate]:
    """Series of nights that are white, spiky or autocorrelated: a series a trial."""
    nights: Any = importlib.import_module(NIGHTS)
    for name, make in (
        ("white", nights.white),
        ("spiky", nights.spiky),
        ("autocorrelated 0.6", nights.autocorrelated),
    ):
        source = f"simulated nights: {name}"
        quiet = nights.alarms_per_100_nights(make(), trials.count, COUNT, trials.seed + 1)
        yield Rate(
            "twinbench nightly", source, "alarmed", 0.0, "simulated", COUNT, quiet.alarmed, trials.count,
            demand=(0.0, 0.02),
        )  # fmt: skip
        for step, least in STEPS:
            found = nights.nights_to_find(make(), step, trials.count, seed=trials.seed + 2, released=False)
            hits = sum(one is not None and one <= WITHIN for one in found.nights)
            yield Rate(
                "twinbench nightly", source, "found in time", step, "simulated", WITHIN, hits, trials.count,
                demand=(least, 1.0),
            )  # fmt: skip
