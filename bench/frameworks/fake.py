"""A scripted framework on a virtual clock: it computes real answers with NumPy and says at once how long that "took".

Its device is asynchronous like a GPU's queue. Each behaviour is one way in which a benchmark goes wrong, so that every
check of the harness is proven against the fault it exists for, from the command line to the HTML page, without waiting.
Environments: ``fake`` behaves; ``fake-hang`` hangs, and so on (``bench.environments.FAKE_BEHAVIOURS``).
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.frameworks.base import Framework, Job, Program, Step
from bench.frameworks.placement import ON_CPU, Audit, Fallback
from bench.workload import Arrays, get

#: Sustained rate of the model, FLOP/s; a matrix product reaches 1.5 times as much.
RATE = {"cpu": 1e10, "cuda": 1e11}
#: What starting one operation costs the host, and the least an operation takes on the device.
ENQUEUE_NS = 2_000
KERNEL_NS = 200_000
HOST_READ_NS = 1_000
#: Calls before a throttling machine gets hot: past warm-up and scaling test, and within three bursts of ``mlp:digits``.
THROTTLES_AFTER = 800
#: The largest batch that a device with ``small-memory`` takes.
SMALL_MEMORY_BATCH = 100
#: ``tf32`` rounds operands only; the scripted ``cuda`` has it, the ``cpu`` computes in fp32 under its name.
DTYPES = {
    "fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16", "amp-fp16": "float16",
    "amp-bf16": "bfloat16",
}  # fmt: skip
#: How much longer bf16 takes on a device that has none (behaviour ``emulating``).
EMULATION = 10.0
#: How much longer a product takes beside a neighbour (``crowded``), who is gone when calibrations come a second time.
CROWD, CROWD_LEAVES_AFTER = 50.0, 20


@dataclass
class Device:
    """A virtual clock and an in-order queue. Times in ns."""

    now: int = 0
    busy_until: int = 0
    slowdown: float = 1.0
    noise: np.random.RandomState = field(default_factory=lambda: np.random.RandomState(0))

    def enqueue(self, cost_ns: float) -> int:
        """Queue work; returns when it will be done."""
        self.now += ENQUEUE_NS
        jitter = 1.0 + 0.01 * self.noise.random_sample()
        self.busy_until = max(self.now, self.busy_until) + int(cost_ns * self.slowdown * jitter)
        return self.busy_until


@dataclass(frozen=True)
class Tensor:
    """A device tensor: what computes its value, the time at which it exists, and the dtype it claims."""

    value: Any
    done: int
    dtype: str


@dataclass(frozen=True)
class Outputs(Tensor):
    """What an iteration gives: named tensors whose values are computed when somebody reads them."""

    def __getitem__(self, name: str) -> Tensor:
        return Tensor(lambda: self.value()[name], self.done, self.dtype)


#: What ``packaged`` depends on: a distribution whose ``COST`` multiplies every iteration, so that releases differ.
TOY = "twinbench-toy"


class Fake(Framework):
    """The scripted framework; ``behaviour`` is what follows ``fake-`` in the environment's name."""

    name = "fake"
    distributions: tuple[str, ...] = ("numpy",)
    modes = ("eager",)
    mode_reasons = dict.fromkeys(("compiled", "xla"), "fake is scripted: there is nothing to compile")

    def __init__(self, environment: str = "fake") -> None:
        self.behaviour = environment.partition("@")[0].partition("-")[2] or "good"
        if self.behaviour == "packaged":
            self.distributions = ("numpy", TOY)
        self.device = Device(now=time.perf_counter_ns())
        self.rate = RATE["cpu"]
        self.calibrations = 0

    def clock(self) -> int:
        """The virtual clock."""
        return self.device.now

    cpu_clock = clock

    def calibrate(self) -> None:
        """A millisecond, or 1.5 once a throttling machine has got hot."""
        self.calibrations += 1
        self.device.now += int(1_000_000 * self.device.slowdown)

    def load_twin(self, workload: str, package: str = "workloads") -> Any:
        """The spec itself: the answers come from its own reference, which wants the weights as they are."""
        return SimpleNamespace(workload=get(workload), remap=lambda key, value: (key, value), PREPARED=False)

    def open(self, device: str, threads: int) -> str:
        """Never fails; a name that nobody can take for real hardware."""
        self.rate = RATE[device]
        return f"scripted {device}"

    def load(self, job: Job) -> Program:
        """A program whose answers are the reference's, computed from operands rounded to the job's precision."""
        return FakeProgram(self, job)

    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        """The true product, rounded as the precision says.

        ``misprecise`` always computes in fp32, ``casting`` in fp16 what is large, ``misdtyped`` right but under the
        wrong name, ``emulating`` bf16 slowly.
        """
        actual = "fp32" if self.behaviour == "misprecise" else precision
        if self.behaviour == "casting" and precision == "fp32" and min(a.size, b.size) >= 1 << 20:
            actual = "fp16"
        dtype, claimed = DTYPES[actual], DTYPES["fp32" if self.behaviour == "misdtyped" else precision]
        operands = "tensorfloat32" if actual == "tf32" and self.rate == RATE["cuda"] else dtype

        def product() -> Any:
            with np.errstate(over="ignore", invalid="ignore"):
                return rounded(rounded(a, operands) @ rounded(b, operands), dtype)

        cost = 2.0 * a.shape[0] * a.shape[1] * b.shape[1] / (1.5 * self.rate) * 1e9
        if self.behaviour == "emulating" and dtype == "bfloat16":
            cost *= EMULATION

        def crowd() -> float:
            return CROWD if self.behaviour == "crowded" and self.calibrations <= CROWD_LEAVES_AFTER else 1.0

        return lambda: Tensor(product, self.device.enqueue(cost * crowd()), claimed)

    def copy(self, nbytes: int) -> Step:
        """10 GB/s."""
        return lambda: Tensor(None, self.device.enqueue(nbytes / 10.0), "float32")

    def barrier(self, out: Any) -> None:
        """Waits, unless the behaviour is ``never-syncing``."""
        if self.behaviour != "never-syncing":
            self.device.now = max(self.device.now, _done(out))

    def host_read(self, out: Any) -> float:
        """Always waits: a value cannot be read before it exists."""
        self.device.now = max(self.device.now, _done(out)) + HOST_READ_NS
        return 0.0

    def to_numpy(self, out: Any) -> Any:
        """The value, computed only now: most products are made for their time alone."""
        self.host_read(out)
        return out.value()

    def dtype_name(self, out: Any) -> str:
        """What the tensor claims."""
        return str(out.dtype)

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        """Nothing falls back, but under ``falling-back`` on its accelerator."""
        load().step()
        on_cpu = self.rate == RATE["cpu"]
        fallen = [Fallback("scripted::softshrink", "cpu", 7, "it says so")]
        found = fallen if self.behaviour == "falling-back" and not on_cpu else []
        return Audit("a script", 14, found, None, ON_CPU if on_cpu else "")

    def unsupported(self, error: BaseException) -> str | None:
        """Nothing is lacking."""
        return None


class FakeProgram(Program):
    """One cell of the scripted framework."""

    def __init__(self, framework: Fake, job: Job) -> None:
        self.framework = framework
        self.spec = job.twin.workload
        self.config = job.config
        self.phase = job.phase
        self.variant = str(job.optimizer["name"]) if job.optimizer else "default"
        self.dtype = DTYPES[job.precision]
        self.weights = {name: rounded(value, self.dtype) for name, value in job.weights.items()}
        self.inputs = job.inputs
        self.batch = next(iter(job.inputs.values())).shape[0]
        flops = self.spec.flops(job.config, job.phase, self.batch)
        self.cost_ns = KERNEL_NS + flops / framework.rate * 1e9
        self.calls = 0

    def step(self) -> Any:
        """Queue one iteration, in the way the behaviour prescribes."""
        behaviour, device = self.framework.behaviour, self.framework.device
        self.calls += 1
        _misbehave(behaviour)
        if behaviour == "small-memory" and self.batch > SMALL_MEMORY_BATCH:
            raise MemoryError(f"out of memory: batch {self.batch}, and {SMALL_MEMORY_BATCH} is the most that fits")
        cost = self.cost_ns
        if behaviour == "slower":
            cost *= 1.10
        elif behaviour == "packaged":
            cost *= importlib.import_module("twinbench_toy").COST
        elif behaviour == "impossible":
            cost = 0.0
        elif behaviour == "drifting":
            cost *= 1.05 ** min(self.calls, 200)
        elif behaviour == "throttling" and self.calls > THROTTLES_AFTER:
            device.slowdown = 1.5
        elif behaviour == "lazy":
            # Nothing is computed until somebody looks, and only what they look at. Heavy work, as a cheap graph would
            # hide in the cost of building it (then the roofline finds it).
            device.now += ENQUEUE_NS
            return Outputs(None, device.now + int(100 * cost), self.dtype)
        inputs = self.inputs
        return Outputs(lambda: self.evaluate(inputs), device.enqueue(cost), self.dtype)

    def feed(self, inputs: Arrays) -> None:
        """Other inputs of the same shapes."""
        self.inputs = inputs

    def evaluate(self, inputs: Arrays) -> Arrays:
        """The reference's inference on rounded operands."""
        outputs: Arrays = self.spec.reference(self.config, "inference", "default", self.weights, self._rounded(inputs))
        return outputs

    def verify(self, inputs: Arrays) -> Arrays:
        """The reference's outputs on rounded operands; spoilt where the behaviour is to be wrong."""
        outputs: Arrays = self.spec.reference(
            self.config, self.phase, self.variant, self.weights, self._rounded(inputs)
        )
        first = next(iter(outputs))
        if self.framework.behaviour == "wrong":
            outputs[first] = outputs[first] * 1.5
        elif self.framework.behaviour == "nan":
            outputs[first] = outputs[first] * np.nan
        return outputs

    def output_dtype(self) -> str:
        """What it claims to compute in."""
        return self.dtype

    def _rounded(self, inputs: Arrays) -> Arrays:
        return {k: rounded(v, self.dtype) if v.dtype.kind == "f" else v for k, v in inputs.items()}


def rounded(values: Any, dtype: str) -> Any:
    """``values`` rounded to the nearest number of ``dtype``, kept as float64."""
    wide = np.asarray(values, dtype=np.float64)
    dropped = {"bfloat16": 16, "tensorfloat32": 13}.get(dtype)
    if dropped is not None:
        bits = wide.astype(np.float32).view(np.uint32)
        half, mask = (1 << (dropped - 1)) - 1, 0xFFFFFFFF << dropped & 0xFFFFFFFF
        nearest_even = (bits + half + ((bits >> dropped) & 1)) & mask
        return nearest_even.astype(np.uint32).view(np.float32).astype(np.float64)
    with np.errstate(over="ignore"):
        return wide.astype(dtype).astype(np.float64)


def _misbehave(behaviour: str) -> None:
    """The faults that end a process, or never end."""
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour == "hang":
        time.sleep(3600)
    elif behaviour == "oom":
        np.empty(1 << 62, dtype=np.uint8)
    elif behaviour == "shouting":
        print('{"outcome": "measured"}\x00 not a message', flush=True)
        print("a warning on stderr", file=sys.stderr, flush=True)


def _done(out: Any) -> int:
    """When the output exists; ``None`` exists already."""
    return 0 if out is None else int(out.done)
