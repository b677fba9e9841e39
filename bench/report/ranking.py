"""Rows of speed-ups that may be ranked: means over the same cells. A row of other cells stands apart. Pure.

A mean over what a row happens to have would put a row without its slowest cell before one that is faster in every cell
that both have (Simpson's paradox).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.report.facts import Acceleration, against, find_baselines, mean_ratio, precision_order, where
from bench.summary import CellSummary, Interval


@dataclass(frozen=True)
class Gains:
    """One row: ratios by what was computed. ``mean`` is their geometric mean."""

    name: str
    environment: str
    ratios: Mapping[Hashable, Interval] = field(repr=False)

    @property
    def mean(self) -> Interval:
        return mean_ratio(list(self.ratios.values()))


@dataclass(frozen=True)
class Ranking:
    """``ranked``: the fastest first, each over the same ``shared`` keys. ``apart``: by name, over what each has."""

    ranked: tuple[Gains, ...]
    apart: tuple[Gains, ...]
    shared: int


def rank(rows: Sequence[Gains]) -> Ranking:
    """Rank the rows over the keys that they share.

    A row that shares too little is left out of the ranking rather than everybody's cells: keys are given up for a row
    only while (rows in the ranking) x (keys that they share) does not fall.
    """
    sets: dict[frozenset[Hashable], int] = {}
    for row in rows:
        keys = frozenset(row.ratios)
        sets[keys] = sets.get(keys, 0) + 1
    shared: frozenset[Hashable] = frozenset()
    size = 0
    # Where sets weigh the same, the names decide, not the order in which they came.
    for keys in sorted(sets, key=lambda keys: (-len(keys) * sets[keys], -len(keys), sorted(map(str, keys)))):
        tried = shared & keys if size else keys
        weight = len(tried) * sum(number for each, number in sets.items() if tried <= each)
        if weight >= size and tried:
            shared, size = tried, weight
    inside = [
        Gains(row.name, row.environment, {key: ratio for key, ratio in row.ratios.items() if key in shared})
        for row in rows
        if shared and shared <= row.ratios.keys()
    ]
    apart = [row for row in rows if not (shared and shared <= row.ratios.keys())]
    return Ranking(
        tuple(sorted(inside, key=lambda row: (-row.mean.estimate, row.name))),
        tuple(sorted(apart, key=lambda row: row.name)),
        len(shared),
    )


def over_cpu(found: Acceleration) -> Ranking:
    """Environments on one accelerator over their CPU sides: by work and precision; a row per mode where it has two."""
    rows: dict[tuple[str, str], dict[Hashable, Interval]] = {}
    for one, ratio in found.members:
        cell = one.cell
        rows.setdefault((cell.environment, cell.mode), {})[cell.work, cell.precision] = ratio
    several = {name for name, mode in rows if sum(other == name for other, _ in rows) > 1}
    return rank(
        [
            Gains(f"{name}/{found.device}" + (f" {mode}" if name in several else ""), name, ratios)
            for (name, mode), ratios in rows.items()
        ]
    )


def over_baseline(summaries: Sequence[CellSummary], baseline: str) -> dict[str, Ranking]:
    """Precision -> environment, device and mode over the baseline of each work.

    Precisions are ranked apart: half of them runs fewer works, and fp32 would lose the others.
    """
    bases = find_baselines(summaries, baseline)
    rows: dict[str, dict[str, tuple[str, dict[Hashable, Interval]]]] = {}
    for one in summaries:
        gain = against(one, bases.get(one.cell.work))
        if gain is not None:
            alike = rows.setdefault(one.cell.precision, {})
            alike.setdefault(where(one.cell), (one.cell.environment, {}))[1][one.cell.work] = gain
    return {
        precision: rank([Gains(name, environment, ratios) for name, (environment, ratios) in rows[precision].items()])
        for precision in sorted(rows, key=precision_order)
    }
