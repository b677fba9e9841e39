"""CSV: one row per cell, failed ones too; an unknown figure is an empty field."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.exports.table import frame
from bench.record import Record


def write(records: Iterable[Record], path: Path) -> int:
    """The rows of ``table.frame``; times in seconds, rates in items/s."""
    rows = frame(records)
    rows.to_csv(path, index=False)
    return len(rows)
