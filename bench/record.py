"""What one process did for one cell: the schema of a line in ``results/<run>/records.jsonl``.

History of the schema (a reader of every past version lives in ``store.py``):
  1  2026-11  first version
  2  2026-11  further units, stages and peak memory of a measurement; memory layout; a pipeline's answer. All have
              defaults, so version 1 reads as a record that says nothing about them.
  3  2026-11  clock sentinel, device memory and energy of a measurement, and why one of them was not measured. Rate of a
              matrix product by precision; error of a large one; time in which a twin built kernels of its own
              (``stages_ns["kernel_build"]``). All have defaults.
  4  2026-11  what an imported file does not say may be unknown: warm-up, fence and scaling (None), columns of CPU time
              and start (empty), threads and seed (None). Records of twinbench's own have them all, as before.

Structs are not tracked by the garbage collector (``gc=False``): they hold no cycles, and reports read 100,000 of them.
Rules: a record never changes once written; raw samples are kept and summaries recomputed; unknown is None, never 0 or
-1; the unit stands in the name (``_ns``, ``_bytes``, ``_per_s``). ``docs/record.schema.json`` is generated from here.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from bench.cell import Cell

SCHEMA_VERSION = 4


class Measured(Struct, frozen=True, gc=False, tag_field="kind", tag="measured"):
    """Outputs were right and the timing stands; the samples are in ``Record.measurement``.

    Of an imported record nobody here knows whether they were: its labels say ``not-verified``.
    """


class Unsupported(Struct, frozen=True, gc=False, tag_field="kind", tag="unsupported"):
    """The framework cannot do this here; found by trying, in the framework's own words."""

    reason: str


class Wrong(Struct, frozen=True, gc=False, tag_field="kind", tag="wrong"):
    """A check of correctness failed: no speed is shown anywhere.

    ``check`` is ``outputs`` or ``effective-precision``; ``error`` is None where it is not a number (NaN, shape).
    """

    check: str
    error: float | None
    limit: float
    detail: str


class Failed(Struct, frozen=True, gc=False, tag_field="kind", tag="failed"):
    """The worker raised, died or ran out of memory in ``stage``; ``log_tail`` is the end of its output."""

    stage: str
    type: str
    message: str
    log_tail: str


class TimedOut(Struct, frozen=True, gc=False, tag_field="kind", tag="timed_out"):
    """``stage`` did not answer within ``seconds``; the worker was terminated, then killed."""

    stage: str
    seconds: float


Outcome = Measured | Unsupported | Wrong | Failed | TimedOut


class Bursts(Struct, frozen=True, gc=False):
    """Columns, one entry a burst, in the order in which they ran.

    ``foreign_cpu_ns`` is CPU time that others took on this machine meanwhile (all cores, hypervisor steal included).
    ``started_ns`` is the system-wide monotonic clock, so bursts of the workers of one block can be put in order.
    ``cpu_ns`` and ``started_ns`` are empty where an imported file does not say.
    """

    iterations: list[int]
    wall_ns: list[int]
    cpu_ns: list[int]
    foreign_cpu_ns: list[int | None]
    started_ns: list[int]


class WarmUp(Struct, frozen=True, gc=False):
    """``steady`` is False when time or count ran out before two half-windows agreed."""

    iterations: int
    wall_ns: int
    steady: bool


class Fence(Struct, frozen=True, gc=False, omit_defaults=True):
    """The fence self-test. ``kind`` is ``barrier``, or ``host-read`` where the barrier was found to be a no-op.

    ``cost_ns`` is the whole fence on a finished output; the others are one chain of ``iterations`` products: until the
    last call returned, until the barrier did, and until a value could be read. ``issued_ns`` near ``host_read_ns``:
    the work was over when the call returned, and a barrier had nothing to wait for. None in records of old.
    """

    kind: str
    cost_ns: int
    fenced_ns: int
    host_read_ns: int
    issued_ns: int | None = None
    iterations: int | None = None


class Scaling(Struct, frozen=True, gc=False):
    """``factor`` times the iterations took ``ratio`` times the wall time."""

    factor: int
    ratio: float


class Sentinel(Struct, frozen=True, gc=False):
    """The clock sentinel: one fixed product of two square fp32 matrices, before the first burst and between bursts.

    ``size`` is that of the matrices; ``iterations`` of it were in flight in a reading. Columns: how many bursts were
    over, and the wall time of the reading (the fastest of three). ``policy`` is ``annotate`` or ``discard``: see
    ``bench/sentinel.py``, which judges.
    """

    size: int
    iterations: int
    after_burst: list[int]
    wall_ns: list[int]
    policy: str = "annotate"


class DeviceMemory(Struct, frozen=True, gc=False):
    """What the cell's iterations needed on the device; weights and inputs are part of it.

    ``kind``: ``peak`` (the allocator's own highest mark, set back before the iterations), ``peak-since-start`` (a mark
    that cannot be set back, so load and first call are in it), or ``sampled`` (the highest of many readings; what lasts
    for less than their distance is missed). ``source`` names the counter. ``reserved_bytes`` is what the framework took
    from the driver, ``limit_bytes`` what it may take.
    """

    peak_bytes: int
    kind: str
    source: str
    reserved_bytes: int | None = None
    limit_bytes: int | None = None


class Energy(Struct, frozen=True, gc=False):
    """What the machine used while ``iterations`` ran for ``wall_ns`` in a pass after the bursts, idle draw included.

    ``rails_joules`` is by part of the machine (``gpu``, ``cpu package``, ``dram``, ...), as far as it can be read here;
    ``source`` says by what: a counter of energy, or sampled power.
    """

    rails_joules: dict[str, float]
    wall_ns: int
    iterations: int
    source: str


class Measurement(Struct, frozen=True, gc=False):
    """The raw samples of one process and the facts needed to judge them.

    ``items`` holds every unit and its count per iteration, the headline (``item``) first. ``stages_ns`` holds samples
    of the named stages of an iteration, each ended by a fence of its own, in passes apart from the bursts: they do not
    overlap as they may within a burst. ``peak_rss_bytes`` is the process's peak after load and first call, compilation
    included, before anything else was done. ``not_measured`` says of a separate pass (``device-memory``, ``energy``,
    ``sentinel``) why it gave nothing. ``gemm_rates_flops_per_s`` is the best matrix product by precision: fp32's
    and the cell's own, of which ``gemm_flops_per_s`` is the larger.
    """

    item: str
    items_per_iteration: float
    flops_per_iteration: float | None
    bytes_per_iteration: float | None
    bursts: Bursts
    latency_ns: list[int]
    warm_up: WarmUp | None
    fence: Fence | None
    scaling: Scaling | None
    gemm_flops_per_s: float | None
    copy_bytes_per_s: float | None
    calibration_before_ns: list[int]
    calibration_after_ns: list[int]
    items: dict[str, float] = {}
    stages_ns: dict[str, list[int]] = {}
    peak_rss_bytes: int | None = None
    sentinel: Sentinel | None = None
    device_memory: DeviceMemory | None = None
    energy: Energy | None = None
    not_measured: dict[str, str] = {}
    gemm_rates_flops_per_s: dict[str, float] = {}


class Verification(Struct, frozen=True, gc=False):
    """Errors against the reference, per output; ``producer`` names who made the reference."""

    producer: str
    error: float | None
    limit: float
    reason: str
    errors: dict[str, float | None]


class EffectivePrecision(Struct, frozen=True, gc=False):
    """What matrix products at this precision really did, measured: see ``bench/precision.py``.

    ``gemm_error`` is the relative error of a small product, ``large_gemm_error`` of one with a million elements in each
    operand; None where it was not finite, or (large) not measured.
    """

    label: str
    expected: str
    gemm_error: float | None
    output_dtype: str
    model_output_dtype: str
    large_gemm_error: float | None = None


class Fingerprint(Struct, frozen=True, gc=False, omit_defaults=True):
    """All that may change a figure but is not a word of the cell.

    ``cpu`` is the number of the one CPU that the worker was kept on, as both sides of a comparison on one thread are;
    None, and not in the file: it was not.
    """

    versions: dict[str, str]
    variables: dict[str, str]
    device_name: str | None
    threads: int | None
    machine: dict[str, Any]
    power: dict[str, Any]
    git_revision: str | None
    seed: int | None
    weights_sha256: str | None
    inputs_sha256: str | None
    cpu: int | None = None


class Record(Struct, frozen=True, gc=False):
    """One process, one cell, exactly one outcome.

    ``block`` joins the records of workers that were alive at once; ``process`` counts the fresh processes of a cell
    within its run, from 0. ``stages_ns`` is wall time by stage (``spawn``, ``open``, ``load``, ``first_call``, ...).
    ``labels`` are machine-readable findings: see ``bench/labels.py``. ``layout`` is the memory layout of the
    activations (``NCHW``, ``NHWC``) where a workload has one, ``answer`` what a pipeline found, for people.
    """

    schema: int
    id: str
    run: str
    block: str
    process: int
    cell_id: str
    cell: Cell
    started_at: str
    outcome: Outcome
    stages_ns: dict[str, int]
    fingerprint: Fingerprint
    measurement: Measurement | None = None
    verification: Verification | None = None
    precision: EffectivePrecision | None = None
    labels: list[str] = []
    warnings: list[str] = []
    layout: str | None = None
    answer: str | None = None
