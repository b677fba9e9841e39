"""github-action-benchmark's custom JSON, in items per second: give it ``tool: customBiggerIsBetter``.

An array of entries with name, unit, value, and for people range and extra; the action reads no other key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bench.exports.samples import Sampled, gather
from bench.record import Record
from bench.report import numbers


def write(records: Iterable[Record], path: Path) -> int:
    """One entry per measured cell. All in one direction, because the action takes one for a whole file."""
    sampled, _ = gather(records)
    entries = [_entry(one) for one in sampled]
    path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(entries)


def _entry(one: Sampled) -> dict[str, str | float]:
    rate = one.summary.throughput
    assert rate is not None, "a measured cell has a rate"
    entry: dict[str, str | float] = {
        "name": one.cell.label,
        # A fixed unit: with prefixes the same cell would change its unit between nights.
        "unit": f"{one.summary.item or 'items'}/s",
        "value": rate.estimate,
        "extra": "\n".join(
            [
                "higher is better",
                f"fresh processes: {one.summary.processes}",
                f"cell: {one.cell.id}",
                *([f"imported from {one.summary.imported}, not verified"] if one.summary.imported else []),
            ]
        ),
    }
    if rate.low is not None and rate.high is not None:
        low, high = (numbers.significant(bound, 4) for bound in (rate.low, rate.high))
        entry["range"] = f"{numbers.percent(rate.confidence)} interval {low} to {high}"
    return entry
