"""The only code that runs in a framework's interpreter, stage by stage: open, load, first call, verify, burst, ...

One worker serves one cell in one fresh process. It answers JSON messages on a private channel; whatever it or the
framework prints is only a log. Standard library, NumPy and one framework.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import environments, host, memory, plugins, precision, tensors, timing, verify
from bench.ceilings import Ceilings
from bench.cell import Cell
from bench.errors import Unavailable, Unsupported
from bench.frameworks.base import Framework, Job, Program
from bench.passes import PassStages
from bench.pipeline import Pipeline
from bench.workload import Arrays, Config, Workload, get

Reply = dict[str, Any]

#: The class of each framework's adapter, in the module of the framework's name.
CLASSES = {"torch": "Torch", "tensorflow": "TensorFlow", "jax": "Jax", "mlx": "Mlx", "fake": "Fake"}


class WrongResult(Exception):
    """A check of correctness failed; becomes the outcome ``wrong``."""

    def __init__(self, check: str, error: float | None, limit: float, detail: str, facts: Reply) -> None:
        super().__init__(detail)
        self.outcome = {"kind": "wrong", "check": check, "error": error, "limit": limit, "detail": detail}
        self.facts = facts


def framework_for(name: str, environment: str) -> Framework:
    """The adapter: the one place where a framework's name becomes an import."""
    module = importlib.import_module(f"bench.frameworks.{name}")
    adapter = getattr(module, CLASSES[name])
    framework = adapter(environment) if name == "fake" else adapter()
    assert isinstance(framework, Framework)
    return framework


def preflight(environment: str, device: str) -> None:
    """What can be known before a framework is imported: METAL.md, rules 2 and 3.

    Raises:
        Unavailable: Rosetta, no Mac, a macOS that is too old, a missing plugin, or versions that do not fit.
    """
    entry = environments.get(environment)
    host.refuse_translation()
    if device == "metal":
        host.refuse_metal(plugins.oldest_macos(entry.framework, entry.plugin))
    if entry.framework in plugins.FRAMEWORKS and entry.twins == "workloads":
        plugins.check(
            entry.framework, entry.plugin, plugins.installed(), plugins.registered(), needed=device == "metal"
        )


class Session(PassStages):
    """The state of one worker. Every public method is a stage that the parent asks for by name."""

    workload: Workload
    config: Config
    twin: Any
    inputs: Arrays
    #: The step with extra work in it, None for the usual case.
    longer: Callable[[], Any] | None = None
    #: Why the device is a virtual one, None when it is not.
    virtual: str | None = None

    def open(self, framework: str, environment: str, device: str, threads: int, auditing: bool = False) -> Reply:
        """Look at what is installed, import the framework, choose the device.

        ``auditing``: for the stage ``coverage``, and nothing timed.
        """
        preflight(environment, device)
        self.framework = framework_for(framework, environment)
        self.framework.auditing = auditing
        name = self.framework.open(device, threads)
        self.device = device
        self.virtual = host.virtual_gpu(device, name)
        self.ceilings = Ceilings(self.framework)
        versions = {"python": platform.python_version()}
        for distribution in dict.fromkeys(("numpy", *self.framework.distributions, *plugins.of(framework))):
            try:
                versions[distribution] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {"device_name": name, "versions": versions}

    def load(self, cell: dict[str, Any], weights: str, inputs: str, twins: str = "workloads") -> Reply:
        """Read the very bytes that every framework gets, build the twin and load them.

        ``twins`` is the package where the model code lies: another one holds other libraries' models, to compare with.
        """
        self.cell = Cell(**cell)
        self.workload = get(self.cell.workload)
        loaded = tensors.load(Path(weights))
        self.inputs = tensors.load(Path(inputs))
        spec, phase = self.workload, self.cell.phase
        self.config = spec.settings(self.cell.size, phase, self.cell.variant)
        self.twin = self.framework.load_twin(self.cell.workload, twins)
        self.program = self._program(loaded)
        extra = float(os.environ.get(environments.EXTRA_WORK, "0"))
        self.longer = timing.extra_work(lambda: self.program.step(), extra) if extra else None
        self.flops = spec.flops(self.config, phase, self.cell.batch)
        self.bytes_moved = spec.bytes_moved(self.config, phase, loaded, self.inputs)
        layout = self.twin.layout(self.config) if hasattr(self.twin, "layout") else None
        facts = {"weights_sha256": tensors.digest(loaded), "inputs_sha256": tensors.digest(self.inputs)}
        return {**facts, "layout": layout, "kernel_build_ns": self.program.kernel_build_ns}

    def _program(self, weights: Arrays) -> Program:
        """The cell's program. A pipeline holds the model's inference, which is first given what it will be fed."""
        spec, cell, config, inputs = self.workload, self.cell, self.config, self.inputs
        if getattr(self.twin, "PREPARED", True):
            weights = spec.prepared(config, cell.phase, weights)
        if cell.phase == "pipeline":
            inputs = spec.preprocess(config, inputs)[0]
        optimizer = spec.optimizer(cell.variant) if cell.phase == "training" else None
        phase = "inference" if cell.phase == "pipeline" else cell.phase
        steps = spec.verified_steps(config)
        job = Job(self.twin, config, phase, optimizer, cell.precision, cell.mode, weights, inputs, steps)
        program = self.framework.program(job)
        if cell.phase != "pipeline":
            return program
        return Pipeline(spec, config, self.framework, program, self.inputs)

    def first_call(self) -> Reply:
        """The call that compiles; timed apart."""
        with self.program.measuring():
            first = timing.burst(self.program.step, self._end_of_step, 1, self.framework.clock)
        self.program.reset()
        self.peak_rss_bytes = memory.peak_rss_bytes()
        return {"first_call_ns": first.wall_ns}

    def verify(self, reference: str, producer: str, own_names: bool = False, dump: str | None = None) -> Reply:
        """Compare the outputs with the reference, and the effective precision with the cell's word.

        ``own_names``: the reference was made by this very twin, in this framework's names and layouts.
        """
        measured = precision.measure(self.framework, self.cell.precision)
        lacking = precision.lacking(measured["label"], self.cell.precision)
        if lacking is not None:
            raise Unsupported(lacking)
        outputs = self.program.verify(self.inputs)
        effective = {**measured, "model_output_dtype": self.program.output_dtype()}
        if dump is not None:
            results = {f"result.{name}": value for name, value in self.program.results.items()}
            tensors.save(Path(dump), outputs | results)
        truth = tensors.load(Path(reference))
        if not own_names:
            truth = verify.remap_reference(truth, self.twin.remap)
        if getattr(self.twin, "PARTIAL", False):
            truth = {name: value for name, value in truth.items() if name in outputs}
        config, cell = self.config, self.cell
        judged = verify.compare(
            outputs, truth, lambda output: self.workload.tolerance(config, cell.phase, cell.precision, output)
        )
        facts: Reply = {
            "precision": effective,
            "verification": {
                "producer": producer,
                "error": judged.error,
                "limit": judged.limit,
                "reason": judged.reason,
                "errors": judged.errors,
            },
            "answer": self.program.answer,
        }
        if not judged.ok:
            raise WrongResult("outputs", judged.error, judged.limit, judged.detail, facts)
        fault = precision.fault(effective, self.cell.precision)
        if fault is not None:
            raise WrongResult("effective-precision", effective["gemm_error"], 0.0, fault, facts)
        return facts

    def dump(self, path: str) -> Reply:
        """Write the outputs that ``verify`` would compare; how a framework produces a reference."""
        tensors.save(Path(path), self.program.verify(self.inputs))
        return {}

    def prepare(self, burst_ns: int, warm_up_ns: int) -> Reply:
        """Calibrate, test the fence, measure the ceilings, warm up, choose the burst and test that time grows.

        Raises:
            Unavailable: the GPU is a virtual one. Its outputs have been checked; its times would be nobody's.
        """
        if self.virtual is not None:
            raise Unavailable("virtualized", f"{self.virtual}: outputs are checked there, times are not taken")
        ceilings = self.ceilings
        before = ceilings.calibrations()
        fence = ceilings.test_fence()
        ceilings.measure_gemm(("fp32", self.cell.precision))
        copy = ceilings.copy_bytes_per_s()
        with self.program.measuring():
            warm = timing.warm_up(self._burst, warm_up_ns, ceilings.fence_ns)
            self.iterations = timing.burst_size(warm.iteration_ns, ceilings.fence_ns, burst_ns)
            scaling = timing.check_scaling(self._burst, self.iterations, warm.iteration_ns)
        gc.collect()
        gc.freeze()
        watched = {"size": ceilings.watch.size, "iterations": ceilings.watch.iterations, **self.sentinel()}
        items = self.workload.items(self.config, self.cell.phase, self.cell.batch)
        return {
            "warm_up": {"iterations": warm.iterations, "wall_ns": warm.wall_ns, "steady": warm.steady},
            "fence": {**asdict(fence), "cost_ns": ceilings.fence_ns},
            "scaling": asdict(scaling),
            **ceilings.gemm_reply(),
            "copy_bytes_per_s": copy,
            "calibration_before_ns": before,
            "flops_per_iteration": self.flops,
            "bytes_per_iteration": self.bytes_moved,
            "items_per_iteration": next(iter(items.values())),
            "item": next(iter(items)),
            "items": items,
            "peak_rss_bytes": self.peak_rss_bytes,
            "sentinel": watched,
        }

    def burst(self) -> Reply:
        """One burst of the chosen size; ``own_cpu_ns`` also holds what the preparation of the burst took."""
        before = time.process_time_ns()
        with self.program.measuring():
            sample = self._burst(self.iterations)
        return {**sample._asdict(), "own_cpu_ns": time.process_time_ns() - before}

    def latency(self, samples: int, limit_ns: int) -> Reply:
        """Bursts of one: a fence per call. Fewer samples when ``limit_ns`` runs out, but at least one."""
        taken: list[int] = []
        framework, step = self.framework, self.program.step
        with self.program.measuring():
            # Caches and threads went cold while the parent talked: without this torch's p50 was twice its iteration.
            if self.iterations > 1:
                self._burst(self.iterations)
            self.program.reset()
            framework.barrier(None)
            while len(taken) < samples and (not taken or sum(taken) < limit_ns):
                sample = timing.burst(step, self._end_of_step, 1, framework.clock)
                taken.append(sample.wall_ns)
        return {"latency_ns": taken}

    def stages(self, samples: int, limit_ns: int) -> Reply:
        """The time of each stage, where an iteration has several: of ``samples`` iterations, at least one."""
        if self.cell.phase != "pipeline" and self.program.parts is None:
            return {"stages_ns": {}}
        times: dict[str, list[int]] = {}
        count = 0
        with self.program.measuring():
            while count < samples and (not times or sum(map(sum, times.values())) < limit_ns):
                for name, taken in self.program.staged(self.ceilings.fence, self.framework.clock)[1].items():
                    times.setdefault(name, []).extend(taken)
                count += 1
        return {"stages_ns": times}

    def finish(self, iteration_ns: float) -> Reply:
        """Calibrate again: a machine that throttled meanwhile shows here. And look again at a ceiling that was passed.

        ``iteration_ns`` is what an iteration took in the median burst.
        """
        found = {"calibration_after_ns": self.ceilings.calibrations()}
        if self.flops is not None:
            self.ceilings.measure_below(self.flops / (iteration_ns * 1e-9))
        return {**found, **self.ceilings.gemm_reply()}

    def fit(self, batches: str, held_out: str, labels: str, scores: str) -> Reply:
        """Train on real minibatches in order; returns the loss curve and the held-out accuracy."""
        stacked = tensors.load(Path(batches))
        steps = next(iter(stacked.values())).shape[0]
        losses: list[float] = []
        self.program.reset()
        with self.program.measuring():
            for index in range(steps):
                self.program.feed({name: array[index] for name, array in stacked.items()})
                losses.append(self.framework.host_read(self.program.step()))
        evaluation = tensors.load(Path(held_out))
        predicted = self.program.evaluate(evaluation)[scores].argmax(axis=-1)
        return {"losses": losses, "accuracy": float((predicted == evaluation[labels]).mean())}

    def probe(self, precisions: list[str], rates_s: float) -> Reply:
        """For ``doctor``: the fence test, the effective precision of each word, and the rate of its product.

        Rates are measured in the first ``rates_s`` seconds only: XLA may tune every product for seconds on a GPU.
        """
        began_ns = self.framework.clock()
        fence, product = self.ceilings.test_fence(), self.ceilings.small_product()
        labels: dict[str, str] = {}
        rates: dict[str, float] = {}
        for word in precisions:
            try:
                labels[word] = precision.measure(self.framework, word)["label"]
                if self.framework.clock() - began_ns < rates_s * 1e9:
                    rates[word] = self.ceilings.gemm_flops_per_s(word)
            except Exception as error:  # whatever a framework raises for a precision it lacks is the answer
                labels[word] = f"{type(error).__name__}: {error}".splitlines()[0]
        return {
            "fence": asdict(fence),
            "precisions": labels,
            "gemm_rates_flops_per_s": rates,
            "device_memory": self.memory_of(lambda: self.ceilings.fence(product())),
        }

    def coverage(self, **cell: Any) -> Reply:
        """Which operators of one iteration ran elsewhere than on the device; ``cell`` is what ``load`` takes.

        A pass of its own: a process that was audited is never timed. Of a pipeline, the model: its host code is meant
        to run on the host.
        """

        def load() -> Program:
            self.load(**cell)
            return self.program.model if isinstance(self.program, Pipeline) else self.program

        return asdict(self.framework.audit(load, cell["cell"]["mode"]))

    def _end_of_step(self, out: Any) -> None:
        """The fence; a pipeline's step has ended with results on the host, which no fence of a device knows."""
        if self.cell.phase != "pipeline":
            self.ceilings.fence(out)

    def _burst(self, iterations: int) -> timing.Burst:
        framework = self.framework
        self.program.reset()
        framework.barrier(None)  # the reset's own work must not be in flight when the clock starts
        step = self.longer or self.program.step
        return timing.burst(step, self._end_of_step, iterations, framework.clock, framework.cpu_clock)


STAGES = (
    "open",
    "load",
    "first_call",
    "verify",
    "dump",
    "prepare",
    "burst",
    "latency",
    "stages",
    "finish",
    "fit",
    "probe",
    "sentinel",
    "device_memory",
    "sustain",
    "profile",
    "coverage",
)


def answer(session: Session, message: dict[str, Any]) -> Reply:
    """Do one stage; an exception becomes an outcome, in the words of record.py."""
    stage = message.pop("stage")
    try:
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        return {"ok": getattr(session, stage)(**message)}
    except WrongResult as wrong:
        return {"outcome": wrong.outcome, "facts": wrong.facts}
    except Unsupported as unsupported:
        return {"outcome": {"kind": "unsupported", "reason": str(unsupported)}}
    except Exception as error:  # anything a framework raises is a finding about it, never the end of the run
        traceback.print_exc()
        lacking = session.framework.unsupported(error) if hasattr(session, "framework") else None
        if lacking is not None:
            return {"outcome": {"kind": "unsupported", "reason": lacking}}
        return {"outcome": {"kind": "failed", "stage": stage, "type": type(error).__name__, "message": str(error)}}


def serve(descriptor: int) -> None:
    """Answer messages until the channel closes."""
    channel = Connection(descriptor)
    session = Session()
    while True:
        try:
            message = json.loads(channel.recv_bytes())
        except EOFError:
            return
        channel.send_bytes(json.dumps(answer(session, message)).encode())
