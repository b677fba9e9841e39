"""Run folders of made-up records for the tests of pages over runs. Every figure in them is synthetic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench import store
from bench.cell import Cell
from bench.record import DeviceMemory, Energy, Failed, Outcome, Record, Sentinel, TimedOut, Unsupported, Wrong
from tests.samples import CELL, MS, bursts, fingerprint, measurement, record

#: Text that must stay text wherever it is shown.
EVIL = (
    "<script>alert(1)</script>\"'></script><img src=x onerror=alert(2)> {{ 7*7 }} |x| `c` =1+1 \u202eesrever\u202c 🙂"
)


def process(random: np.random.RandomState, cell: Cell, number: int, iteration_ns: float, **facts: Any) -> Record:
    """One measured process around ``iteration_ns``, with everything that a record can hold."""
    wall = (10 * iteration_ns * np.exp(random.normal(0, 0.001, 8))).astype(int).tolist()
    found = measurement(
        bursts=bursts(wall, [int(0.9 * ns) for ns in wall]),
        latency_ns=(iteration_ns * np.exp(random.normal(0.1, 0.1, 40))).astype(int).tolist(),
        items={"sample": 64.0, "tokens": 640.0},
        stages_ns={"encode": [3 * MS] * 3, "next": (iteration_ns * random.rand(9)).astype(int).tolist()},
        peak_rss_bytes=400_000_001 + 7 * number,
        device_memory=DeviceMemory(1_000_000 + number, "peak", "synthetic"),
        energy=Energy({"cpu package": 3.0 + number, "dram": 0.5}, 10 * MS, 100, "synthetic"),
        sentinel=Sentinel(64, 10, [0, 2, 4, 6, 8], [MS, MS, MS, 2 * MS, 2 * MS], policy="discard"),
    )  # fmt: skip
    stages = {"spawn": 40 * MS + number, "open": 900 * MS, "load": 10 * MS + number * MS, "first_call": 80 * MS}
    labels = ["stable"] if number else ["noisy", "contended"]
    return record(cell, number, measured=found, block=f"b{number}-{cell.id}", stages_ns=stages, labels=labels, **facts)


def several(
    cells: dict[Cell, float], processes: int = 3, seed: int = 0, scatter: float = 0.03, **facts: Any
) -> list[Record]:
    """``processes`` of each cell around its time of an iteration in ns, ``scatter`` (a log) between them."""
    random = np.random.RandomState(seed)
    return [
        process(random, cell, number, cells[cell] * float(np.exp(random.normal(0, scatter))), **facts)
        for number in range(processes)
        for cell in cells
    ]


def one_of_each(**facts: Any) -> list[Record]:
    """Cells that are right, wrong in one process, failed in two ways, implausible, unsupported and timed out."""
    gpu = CELL.but(device="cuda")
    good = several({CELL: 5.0 * MS, gpu: 0.4 * MS, CELL.but(environment="jax", mode="compiled"): 4.0 * MS}, **facts)
    partly = several({CELL.but(precision="fp16"): 3.0 * MS}, seed=1, **facts)
    partly[1] = record(partly[1].cell, 1, Wrong("outputs", 0.31, 0.005, "logits"), **facts)
    odd = several({CELL.but(precision="bf16"): 2.0 * MS}, 2, seed=2, **facts)
    odd = [msgspec.structs.replace(one, labels=["implausible:fence"]) for one in odd]
    failed = CELL.but(environment="tensorflow", mode="compiled")
    log = "\n".join(f"line {number} {EVIL}" for number in range(3))
    ends: list[Outcome] = [
        Failed("load", "MemoryError", "no room", log),
        Failed("open", "ImportError", EVIL, log),
        TimedOut("load", 9.0),
    ]
    return [
        *good, *partly, *odd,
        *(record(failed, number, end, **facts) for number, end in enumerate([ends[0], ends[1], ends[1]])),
        record(failed.but(precision="bf16"), 0, ends[2], **facts),
        record(CELL.but(mode="compiled"), 0, Unsupported("no such mode"), **facts),
    ]  # fmt: skip


def write(results: Path, name: str, records: Iterable[Record], command: str = "twinbench run (synthetic)") -> Path:
    """A run folder that holds ``records`` under its own name."""
    folder = results / name
    folder.mkdir(parents=True)
    (folder / store.RUN).write_text(json.dumps({"command": command, "created_at": "2026-11-22T09:59:00+00:00"}))
    with (folder / store.RECORDS).open("wb") as file:
        for one in records:
            file.write(msgspec.json.encode(msgspec.structs.replace(one, run=name)) + b"\n")
    return folder


def other_machine(**facts: Any) -> Any:
    """A fingerprint that differs from ``samples.fingerprint`` in version, memory and governor."""
    machine = {"chip": "Imagined M9", "physical_cores": 8, "gpu_cores": 10, "memory_bytes": 2**34}
    return fingerprint(versions={"torch": "2.15.0"}, machine=machine, **facts)


def edited(path: Path, old: str, new: str) -> None:
    """Replace the first ``old`` in a file; it must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
