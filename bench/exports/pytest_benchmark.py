"""pytest-benchmark's JSON: seconds of one iteration, lower is better; read by ``pytest-benchmark compare``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import __version__
from bench.errors import UsageError
from bench.exports.alike import differences, machine
from bench.exports.samples import Sampled, gather
from bench.record import Record

#: What its commit_info says where no commit is known.
UNVERSIONED = "unversioned"


def write(records: Iterable[Record], path: Path) -> int:
    """One benchmark per measured cell; its rounds are the bursts of all processes, in seconds per iteration.

    The statistics are computed by pytest-benchmark's own class, so that its ``compare`` finds what it expects.

    Raises:
        UsageError: cells of different machines: a file names one.
    """
    sampled, _ = gather(records)
    first = [one.processes[0].record for one in sampled]
    for one in first[1:]:
        if unlike := differences(machine(first[0].fingerprint), machine(one.fingerprint)):
            raise UsageError(
                f"a file of pytest-benchmark names one machine, and runs {first[0].run} and {one.run} are of two: "
                f"{'; '.join(unlike)}; export them apart"
            )
    commit = next((one.fingerprint.git_revision for one in first if one.fingerprint.git_revision), UNVERSIONED)
    document = {
        "machine_info": _machine_info(first[0].fingerprint.machine if first else {}),
        "commit_info": {"id": commit, "time": None, "dirty": commit.endswith("+dirty"), "branch": "unknown"},
        "benchmarks": [_benchmark(one) for one in sampled],
        "datetime": min((one.started_at for one in first), default=""),
        "version": __version__,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return len(sampled)


def _benchmark(one: Sampled) -> dict[str, Any]:
    from pytest_benchmark.stats import Stats

    times_s = one.times_s()
    stats = Stats()
    for seconds in times_s:
        stats.update(seconds)
    cell = one.cell
    return {
        "group": "/".join(map(str, cell.work)),
        "name": cell.label,
        "fullname": f"twinbench::{cell.label}",
        "params": cell.words(),
        "param": cell.id,
        # Rounds of one process are no fresh sample: ``twinbench import`` finds the processes again by this.
        "extra_info": {
            **benchmark_info(one.processes[0].record),
            "rounds_by_process": [len(process.times_s) for process in one.processes],
        },
        "options": {"timer": "twinbench", "warmup": True},
        "stats": {**stats.as_dict(), "data": times_s, "iterations": 1},
    }


def benchmark_info(record: Record) -> dict[str, Any]:
    """What pytest-benchmark keeps beside the figures as ``extra_info``."""
    fingerprint, verification = record.fingerprint, record.verification
    return {
        "cell_id": record.cell_id,
        "cell": record.cell.words(),
        "versions": fingerprint.versions,
        "threads": fingerprint.threads,
        "weights_sha256": fingerprint.weights_sha256,
        "inputs_sha256": fingerprint.inputs_sha256,
        "labels": record.labels,
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
