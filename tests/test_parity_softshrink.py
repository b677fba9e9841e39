"""Workload ``softshrink`` in the frameworks themselves: every way right, or unsupported with the framework's reason."""

from __future__ import annotations

from pathlib import Path

from bench.cell import Cell
from bench.member import Context
from bench.plan import IDIOM, Selection
from bench.run import Conversation, StageFailed, conversation
from bench.setup import Setup, context, profile_of
from workloads.softshrink import WAYS

#: What cannot be had on a CPU, and what the framework says, or we where it is silent.
LACKS = {
    ("tensorflow", "kernel"): "TensorFlow compiles no kernel from source at run time",
    ("jax", "native"): "jax.nn has no softshrink",
    ("mlx", "kernel"): "[metal_kernel]",
    ("jax", "kernel"): "Pallas: ValueError: Only interpret mode is supported on CPU backend.",
}
#: (phase, precision) of every way; fp16 and bf16 are what an activation of our own could get wrong.
WORKS = (("inference", "fp32"), ("inference", "fp16"), ("inference", "bf16"), ("training", "fp32"))


def found(worker: Conversation, cell: Cell, shared: Context) -> str:
    """``right``, or the outcome and why."""
    spec = shared.workloads[cell.workload]
    try:
        worker.load(cell, shared.store.materials(spec, cell))
        worker.ask("verify", **shared.store.reference(spec, cell).arguments())
    except StageFailed as failed:
        return f"{failed.outcome['kind']}: {failed}"
    return "right"


def test_every_way_is_right_or_lacking(environment: str, interpreter: Path) -> None:
    shared = context(Setup(Selection(), profile_of("quick", 1, 2), 0, 2, {environment: str(interpreter)}), "parity")
    faults: dict[str, str] = {}
    with conversation(environment, "cpu", shared) as worker:
        for phase, precision in WORKS:
            for way in WAYS:
                words = ("softshrink", "tiny-test", phase, way, 32, environment, "cpu", precision, IDIOM[environment])
                said = found(worker, Cell(*words), shared)
                lack = LACKS.get((environment, way))
                expected = said == "right" if lack is None else said.startswith(f"unsupported: {lack}")
                if not expected:
                    faults[f"{phase} {precision} {way}"] = said
                if lack is None:
                    built = worker.facts["kernel_build_ns"]
                    assert (built is not None) == (way == "kernel"), "only building a kernel takes building time"
    assert faults == {}
