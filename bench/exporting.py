"""``twinbench export``: records in the formats of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import __version__
from bench.cell import Cell
from bench.errors import UsageError, unknown
from bench.labels import plausible
from bench.record import Measured, Record, Wrong
from bench.report.stages import further_rates
from bench.summary import CellSummary, summarise


def write(records: Iterable[Record], format_: str, path: Path) -> int:
    """Write ``records`` to ``path``; returns how many benchmarks (cells) are in the file.

    Raises:
        UsageError: no such format, a missing package, or a file that cannot be written.
    """
    writers: Mapping[str, Callable[[Iterable[Record], Path], int]] = {
        "pytest-benchmark": _pytest_benchmark,
        "csv": _csv,
    }
    if format_ not in writers:
        raise unknown("format", format_, writers)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return writers[format_](records, path)
    except ModuleNotFoundError as error:
        raise UsageError(f"this format needs {error.name}: pip install 'twinbench[report]'") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _pytest_benchmark(records: Iterable[Record], path: Path) -> int:
    """One benchmark per measured cell; its rounds are the bursts of all processes, in seconds per iteration.

    The statistics are computed by pytest-benchmark's own class, so that its ``compare`` finds what it expects. Cells
    that were wrong in any process are left out: no speed of a wrong answer leaves this house.
    """
    rounds: dict[Cell, list[float]] = {}
    infos: dict[Cell, dict[str, Any]] = {}
    spoilt: set[Cell] = set()
    machine: Mapping[str, Any] = {}
    commit, first = "unversioned", ""
    for record in records:
        if isinstance(record.outcome, Wrong):
            spoilt.add(record.cell)
        measurement = record.measurement
        if not isinstance(record.outcome, Measured) or measurement is None or not plausible(record.labels):
            continue
        bursts = measurement.bursts
        times = [wall * 1e-9 / n for wall, n in zip(bursts.wall_ns, bursts.iterations, strict=True)]
        if min(times) <= 0:
            continue  # a clock that stood still gives no rate
        rounds.setdefault(record.cell, []).extend(times)
        infos.setdefault(record.cell, benchmark_info(record))
        machine, commit = record.fingerprint.machine, record.fingerprint.git_revision or commit
        first = min(first or record.started_at, record.started_at)
    benchmarks = [_benchmark(cell, times, infos[cell]) for cell, times in rounds.items() if cell not in spoilt]
    document = {
        "machine_info": _machine_info(machine),
        "commit_info": {"id": commit, "time": None, "dirty": commit.endswith("+dirty"), "branch": "unknown"},
        "benchmarks": benchmarks,
        "datetime": first,
        "version": __version__,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return len(benchmarks)


def _benchmark(cell: Cell, times_s: list[float], info: dict[str, Any]) -> dict[str, Any]:
    from pytest_benchmark.stats import Stats

    stats = Stats()
    for seconds in times_s:
        stats.update(seconds)
    return {
        "group": "/".join(map(str, cell.work)),
        "name": cell.label,
        "fullname": f"twinbench::{cell.label}",
        "params": cell.words(),
        "param": cell.id,
        "extra_info": info,
        "options": {"timer": "twinbench", "warmup": True},
        "stats": {**stats.as_dict(), "data": times_s, "iterations": 1},
    }


def benchmark_info(record: Record) -> dict[str, Any]:
    """What pytest-benchmark keeps beside the figures as ``extra_info``."""
    fingerprint, verification = record.fingerprint, record.verification
    return {
        "cell_id": record.cell_id,
        "versions": fingerprint.versions,
        "weights_sha256": fingerprint.weights_sha256,
        "inputs_sha256": fingerprint.inputs_sha256,
        "error": verification.error if verification else None,
        "items_per_iteration": record.measurement.items_per_iteration if record.measurement else None,
        "item": record.measurement.item if record.measurement else None,
    }


def _machine_info(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Our facts under the names that pytest-benchmark's own tables look for."""
    return {
        "node": facts.get("host"),
        "machine": facts.get("architecture"),
        "processor": facts.get("chip"),
        "system": facts.get("system"),
        "release": facts.get("kernel"),
        "cpu": {"brand_raw": facts.get("chip"), "count": facts.get("logical_cores")},
    }


def _csv(records: Iterable[Record], path: Path) -> int:
    """One row per cell, failed ones too; an unknown figure is an empty field. Times in seconds, rates in items/s."""
    import pandas

    rows = [_row(summary) for summary in summarise(records)]
    pandas.DataFrame(rows).to_csv(path, index=False)
    return len(rows)


def _row(summary: CellSummary) -> dict[str, Any]:
    rate, latency = summary.throughput, summary.latency_s or (None, None, None)
    return {
        "cell_id": summary.cell.id,
        **summary.cell.words(),
        "outcome": summary.outcome,
        "reason": summary.reason,
        "item": summary.item,
        "items_per_s": rate.estimate if rate else None,
        "items_per_s_low": rate.low if rate else None,
        "items_per_s_high": rate.high if rate else None,
        "latency_p50_s": latency[0],
        "latency_p90_s": latency[1],
        "latency_p99_s": latency[2],
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
        # One column per further unit and per stage that any cell of the file has.
        **{f"{unit.replace(' ', '_')}_per_s": rate.estimate for unit, rate in further_rates(summary)},
        **{f"stage_{name}_s": part.seconds for name, part in summary.parts.items()},
        **{f"stage_{name}_calls": part.calls for name, part in summary.parts.items()},
    }
