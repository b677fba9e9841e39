"""pytest-benchmark's JSON. All rounds of a benchmark are of one process, so it comes without an interval.

In files that twinbench itself wrote ``extra_info`` says which rounds were one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any

from bench.exports.pytest_benchmark import UNVERSIONED
from bench.foreign.benchmark import (
    ITERATION,
    Benchmark,
    Process,
    cell_of,
    foreign_cell,
    items,
    machine_of,
    process_of,
    text,
    whole,
)

TOOL = "pytest-benchmark"


def fits(document: Any) -> bool:
    """Whether it looks like pytest-benchmark's: facts of a machine, and a list of benchmarks."""
    return isinstance(document, dict) and "machine_info" in document and isinstance(document.get("benchmarks"), list)


def benchmarks(document: Any, problems: list[str]) -> list[Benchmark]:
    """The benchmarks with the times of their rounds; the others are said in ``problems``.

    Raises:
        AttributeError, KeyError, TypeError: a file that is damaged.
    """
    found = []
    for one in document["benchmarks"]:
        try:
            found.append(_benchmark(one, document))
        except ValueError as error:
            problems.append(f"{one['fullname']}: {error}")
    return found


def _benchmark(one: Mapping[str, Any], document: Mapping[str, Any]) -> Benchmark:
    info: Mapping[str, Any] = one.get("extra_info") or {}
    words = info.get("cell")
    cell = cell_of(words) if isinstance(words, dict) else None
    versions = info.get("versions")
    commit: Mapping[str, Any] = document.get("commit_info") or {}
    facts: Mapping[str, Any] = document["machine_info"] or {}
    return Benchmark(
        cell=cell or foreign_cell(str(one["fullname"]), TOOL),
        source=TOOL if cell else f"{TOOL} {document.get('version', '')}".strip(),
        processes=_processes(one["stats"], info.get("rounds_by_process") if cell else None, document.get("datetime")),
        item=text(info.get("item")) or ITERATION if cell else ITERATION,
        items_per_iteration=items(info.get("items_per_iteration")) if cell else 1.0,
        versions=_versions(versions if cell and isinstance(versions, dict) else {}, facts),
        machine=_machine(facts, cell is not None),
        threads=whole(info.get("threads")),
        git_revision=_revision(commit.get("id")) if cell else None,
        weights_sha256=text(info.get("weights_sha256")),
        inputs_sha256=text(info.get("inputs_sha256")),
    )


def _processes(stats: Mapping[str, Any], counts: Any, started_at: Any) -> tuple[Process, ...]:
    times, iterations = stats.get("data"), stats.get("iterations", 1)
    if not times:
        raise ValueError("it has no times of single rounds: save it with --benchmark-json or --benchmark-save-data")
    if not isinstance(times, list):
        raise TypeError(f"data of {stats} is no list")
    known = isinstance(counts, list) and all(whole(count) for count in counts) and sum(counts) == len(times)
    ends = [0, *accumulate(counts)] if known else [0, len(times)]
    return tuple(process_of(times[start:end], iterations, started_at) for start, end in pairwise(ends))


def _revision(commit: Any) -> str | None:
    """twinbench's own commit; the word that the export writes for none is none."""
    return None if commit == UNVERSIONED else text(commit)


def _versions(ours: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    python = text(facts.get("python_version"))
    return {**({"python": python} if python else {}), **{name: str(version) for name, version in ours.items()}}


def _machine(facts: Mapping[str, Any], hashed: bool) -> dict[str, Any]:
    cpu = facts.get("cpu")
    named: Mapping[str, Any] = cpu if isinstance(cpu, dict) else {}
    return machine_of(
        {
            "host": facts.get("node"),
            "system": facts.get("system"),
            "kernel": facts.get("release"),
            "architecture": facts.get("machine"),
            "chip": named.get("brand_raw") or named.get("brand") or facts.get("processor"),
            "logical_cores": named.get("count"),
        },
        hashed,
    )
