"""Bencher Metric Format: latency in ns (lower is better) and throughput in items/s (higher is better), with intervals.

Latency and throughput are Bencher's built-in measures, with these units and directions; `bencher run --adapter json
--file FILE` reads the file. Format: https://bencher.dev/docs/reference/bencher-metric-format/
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bench.cell import Cell
from bench.exports.samples import Sampled, gather
from bench.record import Record
from bench.stats import Interval

#: Of a benchmark's name, in characters.
LONGEST_NAME = 1024


def write(records: Iterable[Record], path: Path) -> int:
    """One benchmark per measured cell; the bounds are the 95 % interval between processes, absent with one process."""
    sampled, _ = gather(records)
    document = {_name(one.cell): _measures(one) for one in sampled}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return len(document)


def _name(cell: Cell) -> str:
    label = cell.label
    return label if len(label) <= LONGEST_NAME else f"{label[: LONGEST_NAME - 20]} {cell.id}"


def _measures(one: Sampled) -> dict[str, dict[str, float]]:
    latency, throughput = one.latency_s(), one.summary.throughput
    found = {}
    if latency is not None:
        found["latency"] = _metric(latency, 1e9)
    if throughput is not None:
        found["throughput"] = _metric(throughput, 1.0)
    return found


def _metric(interval: Interval, scale: float) -> dict[str, float]:
    metric = {"value": interval.estimate * scale}
    if interval.low is not None and interval.high is not None:
        metric |= {"lower_value": interval.low * scale, "upper_value": interval.high * scale}
    return metric
