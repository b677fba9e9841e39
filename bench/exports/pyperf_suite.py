"""pyperf's JSON: seconds of one iteration, lower is better; read by ``pyperf compare_to`` and ``pyperf stats``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.exports.samples import Process, Sampled, gather
from bench.record import Record

#: Metadata of ours in a pyperf file begin so: ``twinbench_environment``, ``twinbench_version_torch``.
PREFIX = "twinbench_"
VERSION_PREFIX = f"{PREFIX}version_"


def write(records: Iterable[Record], path: Path) -> int:
    """One benchmark per measured cell, one run per process; a name in ``.gz`` is compressed. pyperf has no empty file.

    pyperf's own classes write it, so it holds what they accept.

    Raises:
        UsageError: a cell comes from more than one machine or Python, which pyperf keeps apart.
    """
    import pyperf

    sampled, _ = gather(records)
    if sampled:
        pyperf.BenchmarkSuite([_benchmark(one) for one in sampled]).dump(str(path), replace=True)
    return len(sampled)


def _benchmark(one: Sampled) -> Any:
    import pyperf

    try:
        return pyperf.Benchmark(
            [
                pyperf.Run(
                    process.times_s,
                    warmups=_warm_ups(process),
                    metadata=_metadata(one, process),
                    collect_metadata=False,
                )
                for process in one.processes
            ]
        )
    except ValueError as error:
        raise UsageError(
            f"{one.cell.label}: pyperf does not take its runs ({error}); export unlike ones apart"
        ) from error


def _warm_ups(process: Process) -> list[tuple[int, float]] | None:
    """Our warm-up as one value: the mean of its iterations."""
    warm = process.measurement.warm_up
    if warm is None or warm.iterations < 1:
        return None
    return [(warm.iterations, warm.wall_ns * 1e-9 / warm.iterations)]


def _metadata(one: Sampled, process: Process) -> dict[str, Any]:
    """pyperf's own names where it has one; what is unknown is left out, because a pyperf value cannot be None."""
    record = process.record
    fingerprint, machine = record.fingerprint, record.fingerprint.machine
    system = [machine.get(key) for key in ("system", "kernel", "architecture")]
    known = {
        "name": one.cell.label,
        "unit": "second",
        "loops": process.iterations[0] if len(set(process.iterations)) == 1 else None,
        "duration": sum(time * n for time, n in zip(process.times_s, process.iterations, strict=True)),
        "date": _date(record.started_at),
        "hostname": machine.get("host"),
        "cpu_model_name": machine.get("chip"),
        "cpu_count": machine.get("logical_cores"),
        "platform": "-".join(map(str, system)) if all(system) else None,
        "python_version": fingerprint.versions.get("python"),
        **{PREFIX + name: word for name, word in one.cell.words().items()},
        f"{PREFIX}labels": " ".join(record.labels),
        f"{PREFIX}item": process.measurement.item,
        f"{PREFIX}items_per_iteration": process.measurement.items_per_iteration,
        f"{PREFIX}threads": fingerprint.threads,
        f"{PREFIX}weights_sha256": fingerprint.weights_sha256,
        f"{PREFIX}inputs_sha256": fingerprint.inputs_sha256,
        **{VERSION_PREFIX + name: version for name, version in fingerprint.versions.items()},
    }
    return {name: value for name, value in known.items() if value not in (None, "")}


def _date(started_at: str) -> str:
    """As pyperf writes it, but with the zone."""
    return datetime.fromisoformat(started_at).astimezone(UTC).isoformat(sep=" ")
