"""Comparisons by strength of evidence, and what it would take to tell where two stored runs cannot. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bench.cell import Cell
from bench.report.numbers import percent
from bench.stats import log_sample, t_quantile, welch
from bench.summary import CellSummary
from bench.verdict import ALPHA, Comparison

#: Verdicts in the order in which they are told: what is certain first, what matters least last.
WORDS = ("slower", "faster", "inconclusive", "same")
#: Normal quantile of 0.8: a chance of four in five that an effect of that size shows.
POWER = 0.8416
#: Degrees of freedom that a plan reckons with: those of the runs that would be made are not known yet.
PLANNED_DF = 30
#: Ends ``needs`` where only ``limit_sentence`` says why.
NO_NUMBER = "no number of processes would tell"


def by_strength(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those with a ratio: decided ones first, each by p value, then by the half-widths between the ratio and 1."""
    return sorted((one for one in comparisons if one.verdict.ratio is not None), key=_weakness)


def _weakness(one: Comparison) -> tuple[int, float, float, str]:
    verdict = one.verdict
    assert verdict.ratio is not None
    decided = 0 if verdict.word in ("slower", "faster") else 1 + WORDS.index(verdict.word)
    p_value = 1.0 if verdict.p_value is None else verdict.p_value
    return (decided, p_value, -_z(one), one.cell_b.label)


def _z(one: Comparison) -> float:
    """How many half-widths of its interval the ratio lies away from 1; 0 without an interval."""
    ratio = one.verdict.ratio
    if ratio is None or ratio.low is None or ratio.high is None or ratio.low <= 0:
        return 0.0
    half = math.log(ratio.high / ratio.low) / 2
    return math.inf if half == 0 else abs(math.log(ratio.estimate)) / half


def needs(
    one: Comparison,
    a: Mapping[Cell, CellSummary],
    b: Mapping[Cell, CellSummary],
    margin: float,
    between_session_sd: float,
) -> str:
    """What it would take to turn an inconclusive comparison into a verdict; "" for the others.

    A duet says it itself, in its detail. Of stored runs: how many processes a side, at the scatter seen and a chance of
    four in five; or that no number would do, for the reason that ``limit_sentence`` gives for all of them.
    """
    if one.verdict.word != "inconclusive" or one.verdict.ratio is None or one.kind != "stored":
        return ""
    rates = _rates(one, a, b)
    reached = reach(one, a, b, margin, between_session_sd)
    if reached is None:
        return "one process on a side gives no interval; 2 a side give one, 5 are enough to publish"
    told = f"a difference below {percent(_share(reached))} would not have shown"
    samples = [log_sample(side) for side in rates]
    band = math.log1p(margin)
    hidden = limit(margin, between_session_sd) - band
    gap = abs(abs(samples[1].mean - samples[0].mean) - band)
    if gap <= hidden:
        return f"{told}; {NO_NUMBER}"
    planned = t_quantile(1 - ALPHA / 2, PLANNED_DF) + POWER
    variance = sum(sample.variance * len(side) for sample, side in zip(samples, rates, strict=True))
    count = max(math.ceil(planned**2 * variance / (gap**2 - hidden**2)), *(len(side) + 1 for side in rates))
    return f"{told}; about {count:,} processes a side would tell, here were {len(rates[0])} and {len(rates[1])}"


def reach(
    one: Comparison,
    a: Mapping[Cell, CellSummary],
    b: Mapping[Cell, CellSummary],
    margin: float,
    between_session_sd: float,
) -> float | None:
    """The log of the ratio that these processes would have shown with a chance of four in five; None: no interval."""
    rates = _rates(one, a, b)
    if min(map(len, rates)) < 2:
        return None
    found = welch(log_sample(rates[0]), log_sample(rates[1]), 2 * between_session_sd**2)
    return math.log1p(margin) + (t_quantile(1 - ALPHA / 2, found.df) + POWER) * math.sqrt(found.variance)


def limit(margin: float, between_session_sd: float) -> float:
    """``reach`` with processes without number: the scatter between sessions alone is left.

    That scatter is taken as known, so its quantile is the normal one: no ``reach`` of a finite number is below it.
    """
    return math.log1p(margin) + (t_quantile(1 - ALPHA / 2, math.inf) + POWER) * between_session_sd * math.sqrt(2)


def limit_sentence(margin: float, between_session_sd: float) -> str:
    """Why no number of processes would do: the same for every cell of two stored runs."""
    return (
        f"With any number of processes, a difference below {percent(_share(limit(margin, between_session_sd)))} cannot "
        f"show between stored runs: the scatter between sessions ({between_session_sd:g} on a log) stays. Measure both "
        "side by side (twinbench compare)."
    )


def _rates(
    one: Comparison, a: Mapping[Cell, CellSummary], b: Mapping[Cell, CellSummary]
) -> tuple[Sequence[float], Sequence[float]]:
    return a[one.cell_a].rates, b[one.cell_b].rates


def _share(log: float) -> float:
    return math.expm1(min(log, 50.0))
