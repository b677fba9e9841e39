"""Parquet: the rows of the CSV with the types of their columns; an unknown figure is null."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.exports.table import frame
from bench.record import Record


def write(records: Iterable[Record], path: Path) -> int:
    """The rows of ``table.frame``, for pandas, Polars, DuckDB, Spark; times in seconds, rates in items/s."""
    import pyarrow  # noqa: F401 - pandas names both engines that it would take; this project means this one

    rows = frame(records)
    rows.to_parquet(path, engine="pyarrow", index=False)
    return len(rows)
