"""The rows of CSV and Parquet: every cell, failed ones too. Times in seconds, rates in items/s, memory in bytes.

A cell has a row for each machine, number of threads and set of versions that it was measured with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench.exports.alike import Group, Groups
from bench.record import Record
from bench.report.stages import further_rates
from bench.summary import CellSummary, summarise_apart

if TYPE_CHECKING:
    import pandas

WHOLE = {
    "batch", "threads", "latency_samples", "processes", "attempted", "peak_rss_bytes", "device_memory_bytes",
}  # fmt: skip
FRACTIONS = {"items_per_s", "items_per_s_low", "items_per_s_high", "error", "limit", "joules_per_item"}


def frame(records: Iterable[Record]) -> pandas.DataFrame:
    """One row per cell and group of alike records; an unknown figure is missing, whatever its column holds else."""
    import pandas

    groups = Groups()
    found = summarise_apart(records, groups.place)
    made = pandas.DataFrame([_row(one, groups.of_cells[one.cell][place]) for one, place in found])
    return made.astype({name: _dtype(name) for name in made.columns})


def _dtype(column: str) -> str:
    """A column has the same type in every file, also where no cell of the file has the figure."""
    if column in WHOLE or column.endswith("_calls"):
        return "Int64"
    return "Float64" if column in FRACTIONS or column.endswith("_s") else "string"


def _row(summary: CellSummary, group: Group) -> dict[str, Any]:
    rate, latency = summary.throughput, summary.latency_s or (None, None, None)
    threads = group.facts.get("threads")
    return {
        "cell_id": summary.cell.id,
        **summary.cell.words(),
        "run": " ".join(group.runs),
        **{name: group.facts.get(name) for name in ("host", "chip", "gpu")},
        "threads": None if threads is None else int(threads),
        "versions": group.versions() or None,
        "outcome": summary.outcome,
        "reason": summary.reason,
        "item": summary.item,
        "items_per_s": rate.estimate if rate else None,
        "items_per_s_low": rate.low if rate else None,
        "items_per_s_high": rate.high if rate else None,
        "latency_p50_s": latency[0],
        "latency_p90_s": latency[1],
        "latency_p99_s": latency[2],
        "latency_samples": summary.latency_samples if latency[0] is not None else None,
        "processes": summary.processes,
        "attempted": summary.attempted,
        "error": summary.error,
        "limit": summary.limit,
        "effective_precision": summary.effective_precision,
        "peak_rss_bytes": summary.peak_rss_bytes,
        "device_memory_bytes": summary.device_memory.peak_bytes if summary.device_memory else None,
        "device_memory_kind": summary.device_memory.kind if summary.device_memory else None,
        "joules_per_item": sum(summary.item_joules.values()) if summary.item_joules else None,
        "layout": summary.layout,
        "answer": summary.answer,
        "labels": " ".join(summary.labels),
        # One column per further unit and per stage that any cell of the file has.
        **{f"{unit.replace(' ', '_')}_per_s": rate.estimate for unit, rate in further_rates(summary)},
        **{f"stage_{name}_s": part.seconds for name, part in summary.parts.items()},
        **{f"stage_{name}_calls": part.calls for name, part in summary.parts.items()},
    }
