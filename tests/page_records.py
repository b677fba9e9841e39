"""Made-up records for the pages that a browser opens: every kind of outcome, device, stage and pass.

python -m tests.page_records FOLDER      write a run of them, to look at: twinbench report FOLDER/<run>
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.cell import Cell
from bench.record import (
    DeviceMemory,
    EffectivePrecision,
    Energy,
    Failed,
    Measured,
    Outcome,
    Record,
    TimedOut,
    Unsupported,
    Verification,
    Wrong,
)
from tests.samples import MS, bursts, fingerprint, measurement, record

MODES = {"torch": "eager", "tensorflow": "compiled", "jax": "compiled"}
#: Items per second at fp32 on the CPU with batch 1.
SPEED = {"torch": 900.0, "tensorflow": 640.0, "jax": 1060.0}
PRECISIONS = {"fp32": (1.0, 1e-6, 2e-5), "fp16": (1.6, 8e-4, 5e-3), "bf16": (1.4, 6e-3, 3e-2)}
RUN = "20261122-100000-fake"
REASON = "jax has no eager mode: its functions are staged by jit before they run"
LOG = 'Traceback (most recent call last):\n  File "worker.py", line 80, in first_call\nMemoryError: 3.1 GiB\n'


def cells(batches: Sequence[int] = (1, 8, 64)) -> Iterator[Cell]:
    """An MLP at several batches and a pipeline, three environments, CPU and CUDA, three precisions."""
    for environment, mode in MODES.items():
        for device in ("cpu", "cuda"):
            for precision in PRECISIONS:
                for batch in batches:
                    yield Cell("mlp", "wide", "inference", "default", batch, environment, device, precision, mode)
            yield Cell("yolov5", "s", "pipeline", "default", 1, environment, device, "fp32", mode)


def outcome_of(cell: Cell) -> Outcome:
    """Measured, but for one cell of each other kind."""
    words = (cell.environment, cell.device, cell.precision, cell.batch, cell.workload)
    special: dict[tuple[str, str, str, int, str], Outcome] = {
        ("tensorflow", "cuda", "fp16", 64, "mlp"): Wrong("outputs", 0.31, 5e-3, "logits"),
        ("jax", "cpu", "fp16", 64, "mlp"): Failed("first_call", "MemoryError", "could not allocate 3.1 GiB", LOG),
        ("torch", "cpu", "fp16", 64, "mlp"): TimedOut("first_call", 120),
        ("jax", "cuda", "bf16", 1, "mlp"): Unsupported(REASON),
    }
    return special.get(words, Measured())


def rate_of(cell: Cell) -> float:
    """Items per second: an accelerator pays from a few items on."""
    gain, _, _ = PRECISIONS[cell.precision]
    base = SPEED[cell.environment.split()[0]] * gain / (40 if cell.workload == "yolov5" else 1)
    batch = cell.batch if cell.workload == "mlp" else 8
    return base * (0.45 * batch if cell.device == "cuda" else batch**0.35)


def process(cell: Cell, number: int, minute: float, random: np.random.RandomState) -> Record:
    """One record; a twentieth of the processes are noisy, a tenth contended."""
    outcome = outcome_of(cell)
    _, error, limit = PRECISIONS[cell.precision]
    error *= {"torch": 0.8, "tensorflow": 1.3, "jax": 1.0}.get(cell.environment, 1.0)
    labels = ["stable"] if random.uniform() > 0.15 else [str(random.choice(["noisy", "contended"]))]
    hours, minutes = divmod(minute, 60)
    facts: dict[str, Any] = {
        "run": RUN,
        "started_at": f"2026-11-22T{10 + int(hours):02d}:{int(minutes):02d}:{int(minute % 1 * 60):02d}+00:00",
        "stages_ns": {"spawn": 110 * MS, "open": 1900 * MS, "load": 40 * MS, "first_call": 900 * MS, "burst": 600 * MS},
        "fingerprint": _fingerprint(cell),
        "verification": Verification("numpy-fp64", error, limit, "sums of 128 terms", {"logits": error}),
        "precision": EffectivePrecision(cell.precision, cell.precision, error, "float32", "float32", error),
        "labels": labels if isinstance(outcome, Measured) else [],
    }
    measured = _measurement(cell, random) if isinstance(outcome, Measured) else None
    return record(cell, number, outcome, measured, block=f"{cell.id}-{number}", **facts)


def _measurement(cell: Cell, random: np.random.RandomState) -> Any:
    step_s = cell.batch / (rate_of(cell) * np.exp(random.normal(0, 0.02)))
    times = [int(10 * step_s * 1e9 * np.exp(abs(random.normal(0, 0.02)))) for _ in range(10)]
    latency = [int(1.1 * step_s * 1e9 * np.exp(abs(random.normal(0, 0.1)))) for _ in range(60)]
    ceiling = 4e11 if cell.device == "cpu" else 9e12
    facts: dict[str, Any] = {
        "item": "images" if cell.workload == "yolov5" else "samples",
        "items_per_iteration": float(cell.batch),
        "flops_per_iteration": 2e7 * cell.batch,
        "bytes_per_iteration": 2e6 + 1e4 * cell.batch,
        "bursts": bursts(times),
        "latency_ns": latency,
        "gemm_flops_per_s": ceiling,
        "gemm_rates_flops_per_s": {"fp32": ceiling / 2, cell.precision: ceiling},
        "copy_bytes_per_s": 2e10 if cell.device == "cpu" else 9e11,
        "peak_rss_bytes": 412_000_000,
        "energy": Energy({"cpu package": 4.0, "gpu": 9.0}, 2_000 * MS, 1000, "made up"),
        "device_memory": DeviceMemory(812_000_000, "peak", "made up") if cell.device == "cuda" else None,
    }
    if cell.workload == "yolov5":
        parts = {"preprocess": 4, "transfer": 1, "model": 30, "fetch": 1, "postprocess": 2}
        facts["stages_ns"] = {name: [ms * MS] * 3 for name, ms in parts.items()}
    return measurement(**facts)


def _fingerprint(cell: Cell) -> Any:
    machine = {"host": "imagined", "chip": "Imagined M9 (made up)", "physical_cores": 8, "usable_cores": 8.0,
               "os_version": "Imagined OS 1", "memory_bytes": 2**35}  # fmt: skip
    power = {"ac": True, "low_power_mode": False, "thermal_pressure": "nominal", "load_1min": 0.8}
    name = "Imagined GPU 9000 (made up)" if cell.device == "cuda" else "CPU"
    versions = {cell.environment: "2.14.0", "python": "3.11.9"}
    return fingerprint(machine=machine, power=power, device_name=name, versions=versions)


def records(processes: int = 5, which: Sequence[Cell] | None = None) -> list[Record]:
    """All processes of the cells, in the order in which a run would have them."""
    random = np.random.RandomState(11)
    chosen = list(which if which is not None else cells())
    return [
        process(cell, number, 0.08 * (number * len(chosen) + index), random)
        for number in range(processes)
        for index, cell in enumerate(chosen)
    ]


def write_run(results: Path, found: Sequence[Record], name: str = RUN) -> Path:
    """A run folder as ``twinbench run`` leaves it."""
    folder = results / name
    folder.mkdir(parents=True)
    command = msgspec.json.encode({"command": "twinbench run mlp:wide yolov5:s --sweep batch=1,8,64 # made up"})
    (folder / "run.json").write_bytes(command)
    encoder = msgspec.json.Encoder()
    (folder / "records.jsonl").write_bytes(b"".join(encoder.encode(one) + b"\n" for one in found))
    return folder


if __name__ == "__main__":
    print(write_run(Path(sys.argv[1]), records()))
