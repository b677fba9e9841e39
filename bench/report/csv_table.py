"""CSV: one row per cell (or per compared cell), every column documented here and in docs/reports-and-index.md. Pure.

A field that is unknown, or must not be shown, is empty. Text that a spreadsheet would take for a formula gets an
apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.cell import Cell
from bench.report.compare_page import Compared
from bench.report.facts import against, find_baselines, latency, speed
from bench.report.weighing import NO_NUMBER, by_strength, limit_sentence, needs
from bench.summary import CellSummary, Interval
from bench.verdict import Comparison

Columns = Mapping[str, str]

#: The words of a cell, then its figures.
WORDS: Columns = {
    "cell_id": "twelve hex digits over the words of the cell, the same in every release",
    "workload": "name of the workload",
    "size": "named configuration",
    "phase": "inference, pipeline or training",
    "variant": "form of the phase",
    "batch": "items per iteration",
    "environment": "pinned set of packages",
    "device": "cpu, metal or cuda",
    "precision": "fp32, tf32, fp16, bf16, amp-fp16 or amp-bf16",
    "mode": "eager, compiled or xla",
}
COLUMNS: Columns = {
    **WORDS,
    "outcome": "measured, wrong, implausible, unsupported, failed or timed_out",
    "reason": "why it is not measured",
    "item": "what items_per_s counts",
    "items_per_s": "throughput: geometric mean of the process medians",
    "items_per_s_low": "lower end of its 95 % interval between processes",
    "items_per_s_high": "upper end",
    "baseline_cell_id": "the cell that is 1× in its work",
    "over_baseline": "throughput over the baseline's",
    "over_baseline_low": "lower end of its interval",
    "over_baseline_high": "upper end",
    "latency_p50_s": "seconds of one iteration with a fence of its own, median over the samples of all processes",
    "latency_p90_s": "the same at the 90th percentile, from 10 samples on",
    "latency_p99_s": "the same at the 99th percentile, from 100 samples on",
    "latency_samples": "how many samples these are of",
    "processes": "processes in the estimate",
    "attempted": "processes that were started",
    "error": "largest error against the reference",
    "limit": "its limit",
    "producer": "who made the reference",
    "effective_precision": "what a matrix product was measured to compute in",
    "first_call_s": "first call, compilation included, median over processes",
    "peak_rss_bytes": "largest resident memory after load and first call, median over processes",
    "device_memory_bytes": "peak memory of the device",
    "joules_per_item": "energy per item over all rails that were read",
    "labels": "processes by label, as noisy=2 contended=1",
}
COMPARED: Columns = {
    **{f"{name}_a": f"of A: {meaning}" for name, meaning in WORDS.items()},
    **{f"{name}_b": f"of B: {meaning}" for name, meaning in WORDS.items()},
    "verdict": "faster, slower, same or inconclusive, of B; empty where nothing could be compared",
    "ratio": "speed of B over speed of A",
    "ratio_low": "lower end of its interval",
    "ratio_high": "upper end",
    "p_value": "of an effect beyond the margin",
    "blocks": "blocks of a duet, 0 for stored runs",
    "why": "what the verdict rests on",
    "needs": "what it would take to tell",
}
#: A cell of a spreadsheet that begins so is a formula.
FORMULA = ("=", "+", "-", "@")


def report(summaries: Sequence[CellSummary], baseline: str) -> str:
    """One row per cell, in the order of the report."""
    baselines = find_baselines(summaries, baseline)
    return _text(COLUMNS, (_cell(one, baselines.get(one.cell.work)) for one in summaries))


def compared(found: Compared) -> str:
    """One row per compared pair, the strongest evidence first, those without a ratio last."""
    order = [*by_strength(found.comparisons), *(one for one in found.comparisons if one.verdict.ratio is None)]
    a, b = ({row.cell: row for row in rows} for rows in (found.rows_a, found.rows_b))
    rows = []
    for one in order:
        sides = {"a": one.cell_a, "b": one.cell_b}
        words = {f"{name}_{side}": value for side, cell in sides.items() for name, value in _words(cell).items()}
        told = one.verdict
        word = told.word if told.ratio is not None else None
        rows.append(
            words
            | _interval("ratio", told.ratio)
            | {"verdict": word, "p_value": told.p_value, "blocks": told.blocks, "why": told.detail,
               "needs": _needs(one, a, b, found)}
        )  # fmt: skip
    return _text(COMPARED, rows)


def _needs(one: Comparison, a: Mapping[Cell, CellSummary], b: Mapping[Cell, CellSummary], found: Compared) -> str:
    """What it would take, with the reason that a page gives once above its table."""
    told = needs(one, a, b, found.margin, found.session_sd)
    return f"{told}. {limit_sentence(found.margin, found.session_sd)}" if told.endswith(NO_NUMBER) else told


def _words(cell: Any) -> dict[str, Any]:
    return {"cell_id": cell.id, **cell.words()}


def _cell(one: CellSummary, base: CellSummary | None) -> dict[str, Any]:
    timed = latency(one) or (None, None, None)
    return {
        **_words(one.cell),
        "outcome": one.outcome,
        "reason": one.reason,
        "item": one.item,
        **_interval("items_per_s", speed(one)),
        "baseline_cell_id": base.cell.id if base is not None else None,
        **_interval("over_baseline", against(one, base)),
        **dict(zip(("latency_p50_s", "latency_p90_s", "latency_p99_s"), timed, strict=True)),
        "latency_samples": one.latency_samples if timed[0] is not None else None,
        "processes": one.processes,
        "attempted": one.attempted,
        "error": one.error,
        "limit": one.limit,
        "producer": one.producer,
        "effective_precision": one.effective_precision,
        "first_call_s": one.stages_s.get("first_call") if one.outcome == "measured" else None,
        "peak_rss_bytes": one.peak_rss_bytes,
        "device_memory_bytes": one.device_memory.peak_bytes if one.device_memory else None,
        "joules_per_item": sum(one.item_joules.values()) if one.item_joules else None,
        "labels": " ".join(f"{label}={number}" for label, number in one.labels.items()),
    }


def _interval(name: str, found: Interval | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def _text(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _field(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _field(value: Any) -> Any:
    """Text on one line, and never a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return f"'{line}" if line.startswith(FORMULA) else line
