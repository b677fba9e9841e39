"""``twinbench import``: what another tool measured becomes a run of its own, for the report and for stored comparisons.

Every record of it carries the labels ``imported:<tool>`` and ``not-verified``: nobody here saw the outputs, the fence
or the machine, so such a cell never leads a table, and what the file does not say is unknown.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench import __version__, store
from bench.errors import UsageError
from bench.foreign import pyperf_file, pytest_benchmark_file
from bench.foreign.benchmark import Benchmark, Process
from bench.labels import IMPORTED, NOT_VERIFIED
from bench.record import SCHEMA_VERSION, Bursts, Fingerprint, Measured, Measurement, Record
from bench.setup import this_command

READERS = (pyperf_file, pytest_benchmark_file)
#: More is no file of either tool but a mistake, and would fill the memory.
LARGEST_BYTES = 512 * 2**20
NO_DATE = "the file does not say when this was measured; the date is that of the file"


@dataclass(frozen=True)
class Imported:
    """The run folder, the tool that the file is of, how many benchmarks came in, and what was left out and why."""

    folder: Path
    tool: str
    benchmarks: int
    problems: tuple[str, ...]


def import_file(path: Path, results: Path) -> Imported:
    """Read all of ``path``, then write a new run folder in ``results``.

    Raises:
        UsageError: the file cannot be read, is of neither tool, is damaged, or has no usable benchmark; nothing is
            written then.
    """
    data = _read(path)
    document = _document(path, data)
    reader = next((one for one in READERS if one.fits(document)), None)
    if reader is None:
        raise UsageError(f"{path} is neither a pyperf nor a pytest-benchmark JSON file")
    problems: list[str] = []
    changed_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    try:
        found = reader.benchmarks(document, problems)
        records = _records(found, reader.TOOL, changed_at)
        msgspec.json.encode(records)  # what cannot be written is found before anything is
    except ModuleNotFoundError as error:
        raise UsageError(f"this file needs {error.name}: pip install 'twinbench[exports]'") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is a damaged {reader.TOOL} file: {type(error).__name__}: {error}") from error
    problems = [f"{path}: {problem}" for problem in problems]
    if not found:
        raise UsageError("; ".join(problems) or f"{path} holds no benchmark")
    folder = store.new_run(results, _run_facts(path, data, reader.TOOL))
    with store.appending(folder) as appender:
        appender.append(msgspec.structs.replace(record, run=folder.name) for record in records)
    return Imported(folder, reader.TOOL, len(found), tuple(problems))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _document(path: Path, data: bytes) -> Any:
    try:
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise UsageError(f"{path} has more than {LARGEST_BYTES >> 20} MiB: no file of pyperf or pytest-benchmark")
        return json.loads(data)
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
        raise UsageError(f"{path} is no JSON: {error}") from error


def _run_facts(path: Path, data: bytes, tool: str) -> dict[str, Any]:
    return {
        "twinbench": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": this_command(),
        "kind": "import",
        "tool": tool,
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _records(found: Sequence[Benchmark], tool: str, changed_at: str) -> list[Record]:
    """All processes, of a run that has no name yet."""
    return [
        _record(benchmark, process, number, f"import-{index:05d}-{number:03d}", tool, changed_at)
        for index, benchmark in enumerate(found)
        for number, process in enumerate(benchmark.processes)
    ]


def _record(benchmark: Benchmark, process: Process, number: int, block: str, tool: str, changed_at: str) -> Record:
    """One process; blocks of one, because nobody knows what ran beside it."""
    return Record(
        schema=SCHEMA_VERSION,
        id=uuid.uuid4().hex,
        run="",
        block=block,
        process=number,
        cell_id=benchmark.cell.id,
        cell=benchmark.cell,
        started_at=process.started_at or changed_at,
        outcome=Measured(),
        stages_ns={},
        fingerprint=Fingerprint(
            # As a version, so that a mean over an imported and a measured cell is refused like any two versions.
            versions={**benchmark.versions, "imported from": benchmark.source},
            variables={},
            device_name=None,
            threads=benchmark.threads,
            machine=dict(benchmark.machine),
            power={},
            git_revision=benchmark.git_revision,
            seed=None,
            weights_sha256=benchmark.weights_sha256,
            inputs_sha256=benchmark.inputs_sha256,
        ),
        measurement=_measurement(benchmark, process),
        labels=[IMPORTED + tool, NOT_VERIFIED],
        warnings=[] if process.started_at else [NO_DATE],
    )


def _measurement(benchmark: Benchmark, process: Process) -> Measurement:
    count = len(process.wall_ns)
    return Measurement(
        item=benchmark.item,
        items_per_iteration=benchmark.items_per_iteration,
        flops_per_iteration=None,
        bytes_per_iteration=None,
        bursts=Bursts(list(process.iterations), list(process.wall_ns), [], [None] * count, []),
        latency_ns=[],
        warm_up=None,
        fence=None,
        scaling=None,
        gemm_flops_per_s=None,
        copy_bytes_per_s=None,
        calibration_before_ns=[],
        calibration_after_ns=[],
        items={benchmark.item: benchmark.items_per_iteration},
    )
