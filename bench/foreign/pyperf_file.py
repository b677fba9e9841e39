"""pyperf's JSON, read by pyperf's own classes: each run of a benchmark is a process of its own."""

from __future__ import annotations

import json
from typing import Any

from bench.exports.pyperf_suite import PREFIX, VERSION_PREFIX
from bench.foreign.benchmark import (
    ITERATION,
    Benchmark,
    cell_of,
    foreign_cell,
    items,
    machine_of,
    process_of,
    text,
    whole,
)

TOOL = "pyperf"
TIME = "second"


def fits(document: Any) -> bool:
    """Whether it looks like pyperf's: benchmarks that have runs."""
    benchmarks = document.get("benchmarks") if isinstance(document, dict) else None
    return isinstance(benchmarks, list) and any(isinstance(one, dict) and "runs" in one for one in benchmarks)


def benchmarks(document: Any, problems: list[str]) -> list[Benchmark]:
    """The benchmarks that measured time; the others are said in ``problems``.

    Raises:
        ModuleNotFoundError: pyperf is not installed.
        AttributeError, KeyError, TypeError, ValueError: what pyperf raises for a file that is damaged.
    """
    import pyperf

    found = []
    for one in pyperf.BenchmarkSuite.loads(json.dumps(document)):
        try:
            found.append(_benchmark(one))
        except ValueError as error:
            problems.append(f"{one.get_name()}: {error}")
    return found


def _benchmark(one: Any) -> Benchmark:
    facts = one.get_metadata()
    unit = facts.get("unit", TIME)
    if unit != TIME:
        raise ValueError(f"its values are in {unit}, not in seconds")
    processes = []
    for run in one.get_runs():
        if run.values:  # a run that only calibrates has none
            processes.append(process_of(run.values, run.get_total_loops(), run.get_metadata().get("date")))
    if not processes:
        raise ValueError("it has no values")
    cell = cell_of({name.removeprefix(PREFIX): value for name, value in facts.items() if name.startswith(PREFIX)})
    versions = {
        name.removeprefix(VERSION_PREFIX): str(value)
        for name, value in facts.items()
        if name.startswith(VERSION_PREFIX)
    }
    if "python_version" in facts:
        versions.setdefault("python", str(facts["python_version"]).split()[0])
    return Benchmark(
        cell=cell or foreign_cell(one.get_name(), TOOL),
        source=f"{TOOL} {facts.get('perf_version', facts.get('pyperf_version', ''))}".strip(),
        processes=tuple(processes),
        item=text(facts.get(f"{PREFIX}item")) or ITERATION,
        items_per_iteration=items(facts.get(f"{PREFIX}items_per_iteration")),
        versions=versions,
        machine=machine_of(
            {
                "host": facts.get("hostname"),
                "os_version": facts.get("platform"),
                "chip": facts.get("cpu_model_name"),
                "logical_cores": facts.get("cpu_count"),
            },
            hashed=cell is not None,
        ),
        threads=whole(facts.get(f"{PREFIX}threads")),
        weights_sha256=text(facts.get(f"{PREFIX}weights_sha256")),
        inputs_sha256=text(facts.get(f"{PREFIX}inputs_sha256")),
    )
