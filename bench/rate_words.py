"""Rates as JSON and back, and as words: for ``twinbench selftest`` and for the page that shows what it left. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.rates import Rate
from bench.verdict import MARGIN

FILE = "selftest.json"
#: Version of the JSON: rises when a reader of the last one would go wrong.
SCHEMA = 1
#: How the names of our own rules begin.
OURS = "twinbench"
COLUMNS = ("rule", "on", "clock", "what", "of", "rate (95 % interval)", "asked")
OTHERS = "rules of others, rebuilt from their documentation; two runs back to back"


def row(rate: Rate) -> dict[str, Any]:
    """A rate as plain JSON."""
    low, high = rate.bounds
    return {
        "rule": rate.rule,
        "source": rate.source,
        "what": rate.what,
        "effect": round(rate.effect, 6),
        "origin": rate.origin,
        "count": rate.count,
        "clock": rate.clock,
        "margin": rate.margin,
        "looks": list(rate.looks),
        "hits": rate.hits,
        "trials": rate.trials,
        "rate": rate.value,
        "low": low,
        "high": high,
        "demand": None if rate.demand is None else list(rate.demand),
        "aside": None if rate.aside is None else [rate.aside[0], _finite(rate.aside[1])],
        "holds": rate.holds,
        "few": rate.few,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def rate_of(told: Mapping[str, Any]) -> Rate:
    """What ``row`` made, read back.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    hits, trials = int(told["hits"]), int(told["trials"])
    if not 0 <= hits <= trials or not trials:
        raise ValueError(f"{hits} of {trials} trials")
    demand, aside = told["demand"], told.get("aside")
    return Rate(
        rule=str(told["rule"]),
        source=str(told["source"]),
        what=str(told["what"]),
        effect=float(told["effect"]),
        origin=str(told["origin"]),
        count=int(told["count"]),
        hits=hits,
        trials=trials,
        clock=str(told["clock"]),
        margin=None if told["margin"] is None else float(told["margin"]),
        looks=tuple(map(int, told["looks"])),
        demand=None if demand is None else (float(demand[0]), float(demand[1])),
        aside=None if aside is None else (str(aside[0]), math.inf if aside[1] is None else float(aside[1])),
    )


def words(rate: Rate) -> tuple[str, ...]:
    """Under ``COLUMNS``."""
    asked = "" if rate.demand is None else ("at least {0:.0%}" if rate.demand[1] == 1 else "at most {1:.0%}")
    few = "; too few trials to be sure" if rate.few else ""
    return (
        rate.rule,
        rate.source,
        rate.clock,
        sentence(rate),
        str(rate.count),
        str(rate),
        asked.format(*(rate.demand or ())) + few,
    )


def _figure(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "never in most series"


def sentence(rate: Rate) -> str:
    """What is counted."""
    aside = "" if rate.aside is None else f"; {rate.aside[0]}: {_figure(rate.aside[1])}"
    if rate.what == "covered":
        return f"interval of {rate.count} processes holds the truth"
    if rate.what == "alarmed":
        return f"series of {rate.count} nights without a change that alarm{aside}"
    if rate.what == "found in time":
        return f"{rate.effect:+.1%} found within {rate.count} nights{aside}"
    margin = "" if rate.margin is None or rate.margin == MARGIN else f", margin {rate.margin:.0%}"
    if not rate.effect:
        return f"identical flagged ({rate.origin}){margin}"
    return f"{rate.effect:+.1%} {'found' if rate.what == 'slower' else 'flagged'} ({rate.origin}){margin}"
