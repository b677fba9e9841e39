"""Records and summaries for the tests of labels, summaries and comparisons; every fact has a quiet default."""

from __future__ import annotations

from typing import Any

from bench.cell import Cell
from bench.record import (
    Bursts,
    Fence,
    Fingerprint,
    Measured,
    Measurement,
    Outcome,
    Record,
    Scaling,
    Verification,
    WarmUp,
)

CELL = Cell("mlp", "digits", "inference", "default", 64, "torch", "cpu", "fp32", "eager")
MS = 1_000_000


def bursts(wall_ns: list[int], cpu_ns: list[int] | None = None, foreign_ns: list[int | None] | None = None) -> Bursts:
    """Bursts of ten iterations."""
    count = len(wall_ns)
    return Bursts(
        iterations=[10] * count,
        wall_ns=wall_ns,
        cpu_ns=cpu_ns or wall_ns,
        foreign_cpu_ns=foreign_ns or [0] * count,
        started_ns=list(range(count)),
    )


def measurement(**facts: Any) -> Measurement:
    """A quiet, plausible process: ten bursts of 50 ms, 64 items an iteration."""
    defaults: dict[str, Any] = {
        "item": "sample",
        "items_per_iteration": 64,
        "flops_per_iteration": 4e6,
        "bytes_per_iteration": 1e5,
        "bursts": bursts([50 * MS] * 10),
        "latency_ns": [5 * MS, 6 * MS, 7 * MS],
        "warm_up": WarmUp(100, 50 * MS, True),
        "fence": Fence("barrier", 1000, 10 * MS, 10 * MS),
        "scaling": Scaling(3, 3.0),
        "gemm_flops_per_s": 1e11,
        "copy_bytes_per_s": 1e10,
        "calibration_before_ns": [MS] * 5,
        "calibration_after_ns": [MS] * 5,
    }
    return Measurement(**(defaults | facts))


def fingerprint(**facts: Any) -> Fingerprint:
    """An imagined machine."""
    defaults: dict[str, Any] = {
        "versions": {"torch": "2.14.0"},
        "variables": {},
        "device_name": "CPU",
        "threads": 1,
        "machine": {"chip": "Imagined M9", "physical_cores": 8, "gpu_cores": 10},
        "power": {"ac": True, "low_power_mode": False},
        "git_revision": None,
        "seed": 0,
        "weights_sha256": "aa",
        "inputs_sha256": "bb",
    }
    return Fingerprint(**(defaults | facts))


def record(
    cell: Cell = CELL,
    process: int = 0,
    outcome: Outcome | None = None,
    measured: Measurement | None = None,
    block: str = "b0",
    **facts: Any,
) -> Record:
    """One record; measured unless another outcome is given."""
    outcome = outcome or Measured()
    defaults: dict[str, Any] = {
        "run": "r",
        "started_at": "2026-11-22T10:00:00+00:00",
        "stages_ns": {"open": 2_000 * MS, "load": 10 * MS},
        "fingerprint": fingerprint(),
        "verification": Verification("numpy-fp64", 1e-6, 2e-5, "fp32 sums", {"logits": 1e-6}),
        "labels": ["stable"],
    }
    return Record(
        schema=4,
        id=f"{block}-{process}-{cell.id}",
        block=block,
        process=process,
        cell_id=cell.id,
        cell=cell,
        outcome=outcome,
        measurement=(measured or measurement()) if isinstance(outcome, Measured) else None,
        **(defaults | facts),
    )
