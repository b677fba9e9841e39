"""The figures that a page shows, in the page itself as data: what ``twinbench report --recheck`` starts from.

A page holds one element, ``<script type="application/json" id="twinbench-figures">``. A browser does not run it,
whatever the policy says; a program finds in it which runs the page is of, and for every cell (by its id) the figures to
seven digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bench.report import ReportMeta
from bench.report.facts import (
    accelerations,
    against,
    cpu_twin,
    find_baselines,
    latency,
    outcome_counts,
    speed,
    unspeakable,
)
from bench.report.names import ELEMENT, FORMAT
from bench.summary import CellSummary, Interval

if TYPE_CHECKING:
    from bench.verdict import Comparison

Figures = dict[str, Any]


def block(document: Mapping[str, Any]) -> Markup:
    """The element. Text in it cannot end it: ``<``, ``>``, ``&`` and quotes are written as escapes of JSON."""
    told = htmlsafe_json_dumps({"format": FORMAT, **document}, dumps=json.dumps, separators=(",", ":"), allow_nan=False)
    return Markup('<script type="application/json" id="{}">{}</script>').format(ELEMENT, told)


def report(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> dict[str, Any]:
    """What the report on some runs shows; with it, it can be written again."""
    baselines = find_baselines(summaries, meta.baseline)
    by_cell = {one.cell: one for one in summaries}
    return {
        "kind": "report",
        "twinbench": meta.twinbench_version,
        "runs": list(meta.runs),
        "title": meta.title,
        "baseline": meta.baseline,
        "margin": meta.margin,
        "looks": list(meta.looks),
        "cells": {one.cell.id: cell(one, baselines.get(one.cell.work), by_cell) for one in summaries},
        "counts": outcome_counts(summaries),
        "accelerations": {
            found.device: {
                "gain": short(found.gain),
                "pairs": found.pairs,
                "low": short(found.low),
                "high": short(found.high),
            }
            for found in accelerations(summaries)
        },
        "comparisons": [verdict(one, unspeakable(summaries)) for one in comparisons],
    }


def cell(one: CellSummary, base: CellSummary | None, by_cell: Mapping[Any, CellSummary]) -> Figures:
    """The figures of one cell; what is unknown, or must not be shown, is left out."""
    found: Figures = {
        "outcome": one.outcome,
        "attempted": one.attempted,
        "processes": one.processes,
        "error": one.error,
        "limit": one.limit,
        **of_interval("items_per_s", speed(one)),
        **of_interval("over_baseline", against(one, base)),
    }
    if one.cell.device != "cpu":
        found |= of_interval("over_cpu", against(one, cpu_twin(one, by_cell)))
    if (timed := latency(one)) is not None:
        found |= dict(zip(("latency_p50_s", "latency_p90_s", "latency_p99_s"), timed, strict=True))
        found["latency_samples"] = one.latency_samples
    if one.outcome == "measured":
        found |= {f"start_up_{stage}_s": seconds for stage, seconds in one.stages_s.items()}
        found |= {f"stage_{name}_s": part.seconds for name, part in one.parts.items()}
        found |= {f"joules_per_item_{rail}": joules for rail, joules in one.item_joules.items()}
    found["peak_rss_bytes"] = one.peak_rss_bytes
    found["device_memory_bytes"] = one.device_memory.peak_bytes if one.device_memory else None
    found |= {f"label_{label}": count for label, count in one.labels.items()}
    return {name: short(value) for name, value in found.items() if value is not None and _finite(value)}


def verdict(one: Comparison, hidden: AbstractSet[str] = frozenset()) -> Figures:
    """The figures of one comparison; of cells whose speed must not be shown only their names."""
    found: Figures = {"a": one.cell_a.id, "b": one.cell_b.id, "label": one.cell_b.label, "kind": one.kind}
    if {one.cell_a.id, one.cell_b.id} & hidden:
        return found
    told = one.verdict
    found |= {"word": told.word, "clock": one.clock, "blocks": told.blocks, **of_interval("ratio", told.ratio)}
    if told.ratio is not None:
        found |= {"confidence": told.ratio.confidence, "margin": one.margin}
    return found


def of_interval(name: str, interval: Interval | None) -> Figures:
    """``name``, ``name_low`` and ``name_high``, as far as they are known."""
    if interval is None:
        return {}
    ends = {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: short(value) for key, value in ends.items() if value is not None and math.isfinite(value)}


def short(value: Any) -> Any:
    """A float to seven digits, more than any page shows; everything else as it is."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
