"""The seam between the harness and a framework, and the contract of a workload's twin.

An adapter is the only place that chooses a device, casts, compiles, takes gradients and waits for the device. A twin
(``workloads/<name>/<name>_<framework>.py``) is model code as that framework's users write it, and never times, syncs,
prints, parses or chooses a device. Every twin has, in this order:

    the model's classes or functions
    build(config) -> model              torch, MLX: nn.Module, TensorFlow: keras.Model, JAX: None (a pytree)
    remap(key, value) -> (key, value)   canonical weight name and array -> this framework's; linear, so it serves
                                        gradients too. JAX keys are dotted paths into the pytree.
    inference(model, inputs) -> {name: tensor}         JAX: inference(params, inputs, config)
    training(model, inputs) -> {name: tensor}          the forward pass of a training step; JAX as above
    loss(outputs, inputs) -> scalar tensor

``inputs`` is a dict of device tensors, already of the cell's dtype (floats) or the framework's index type (integers).

A twin may also have:

    PARTS = ("encode", "first", "next")     names of its functions that are compiled apart, one program each:
        part(model, *tensors) -> nest of tensors           JAX: part(params, *tensors, config=config)
        ``inference(parts, inputs, config)`` is then host code in every framework: it calls ``parts.encode(tensors)``
        (the model is bound already), loops, and reads no value back. Shapes never change between calls of a part.
    DONATED = {"next": (1,)}                JAX: positions among the part's *tensors whose buffers its result may take
    verification(parts, inputs, config)     -> {name: tensor}: more outputs, compared and never timed; without PARTS its
                                            first argument is the model (JAX: params)
    trainable(path) -> bool                 JAX: which weights the optimizer moves; the new values of the others are
                                            outputs ``state.<path>`` of ``training``. torch: buffers; Keras: trainable;
                                            MLX: frozen
    layout(config) -> str                   the memory layout of the activations, for the record: ``NCHW``, ``NHWC``
    build_kernels(model, device) -> bool    torch: compiles kernels of the twin's own for the device on which the model
                                            lies, timed apart; False where it needs none. JAX: (config, device)
    loaded(model) -> None                   torch, TensorFlow, MLX: called once when the weights are in

and, where the model is another library's (a peer to compare with, benchmarks/peers/):

    PREPARED = False                        it wants the canonical weights, and does what is done at load itself
    COMPILES_ITSELF = True                  ``inference`` is host code, not to be compiled by the adapter
    PARTIAL = True                          ``inference`` gives some of the outputs only; those are compared
    assign(model, weights) -> None          TensorFlow: puts the canonical weights in, instead of ``remap`` and paths

It may raise ``bench.errors.Unsupported`` in ``build`` or ``build_kernels`` where the framework has no such choice (a
memory layout, a kernel, say).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from bench.errors import Unsupported
from bench.frameworks.placement import Audit
from bench.workload import VERIFIED_STEPS, Arrays, Config

#: About a millisecond of hashing: one thread, no memory traffic, no vector library that could differ.
_CALIBRATION_BLOCK = bytes(1 << 20)

Step = Callable[[], Any]
#: Name of a stage -> how long each of its calls took, in ns.
StageTimes = dict[str, list[int]]

#: A host read takes an output up to this size whole: slicing it on the device first costs an operation, which is dearer
#: than the copy (TensorFlow: 0.4 ms for a slice of 64x10 on a CPU).
READ_WHOLE_BYTES = 1 << 16


@dataclass(frozen=True)
class Job:
    """What a program is made of; weights have canonical names, and there is an optimizer in training only."""

    twin: Any
    config: Config
    phase: str
    optimizer: Mapping[str, float | str] | None
    precision: str
    mode: str
    weights: Arrays
    inputs: Arrays
    verified_steps: int = VERIFIED_STEPS


def built_kernels(twin: Any, subject: Any, device: Any) -> int | None:
    """Let the twin build kernels of its own: how long that took in ns, None where it has none to build."""
    if not hasattr(twin, "build_kernels"):
        return None
    started = time.perf_counter_ns()
    built = twin.build_kernels(subject, device)
    return time.perf_counter_ns() - started if built else None


def timed(
    name: str, call: Callable[..., Any], fence: Callable[[Any], Any], clock: Callable[[], int], times: StageTimes
) -> Callable[..., Any]:
    """``call``, fenced, its time added to ``times[name]``."""

    @functools.wraps(call)
    def run(*arguments: Any) -> Any:
        started = clock()
        out = call(*arguments)
        fence(out)
        times.setdefault(name, []).append(clock() - started)
        return out

    return run


class Program(ABC):
    """One cell, loaded and ready. Initial weights are kept, so that ``reset`` makes every burst the same work."""

    #: One iteration: enqueues the work and returns device outputs without waiting. The only thing that is timed.
    step: Step
    #: The compiled parts of a twin with PARTS, which ``step`` looks up at every call; None for the others.
    parts: SimpleNamespace | None = None
    #: A pipeline's results of the last ``verify``, and the same for people.
    results: Arrays = {}
    answer: str | None = None
    #: How long the twin took to build kernels of its own; None: it has none.
    kernel_build_ns: int | None = None

    def measuring(self) -> AbstractContextManager[Any]:
        """Entered once around all calls of ``step`` (torch's inference mode, say); outside any timed region."""
        return nullcontext()

    def reset(self) -> None:
        """Back to the initial weights and optimizer state; nothing to do for inference. Never timed.

        The worker's barrier follows; what that cannot wait for (JAX waits for given arrays only) must be done here.
        """
        return None

    @abstractmethod
    def feed(self, inputs: Arrays) -> None:
        """Replace the inputs of ``step`` by others of the same names, shapes and dtypes."""

    @abstractmethod
    def evaluate(self, inputs: Arrays) -> Arrays:
        """The twin's ``inference`` on the current weights: named outputs as float32 (or wider) NumPy."""

    @abstractmethod
    def verify(self, inputs: Arrays) -> Arrays:
        """What is compared with the reference, as float32 (or wider) NumPy, in this framework's names and layouts.

        Inference: the named outputs of ``step``'s own compiled code. Training: ``loss``, ``grad.<remapped name>``, and
        ``losses`` (5,), from the initial weights; leaves them there. Gradients are unscaled.
        """

    def staged(self, fence: Callable[[Any], Any], clock: Callable[[], int]) -> tuple[Any, StageTimes]:
        """One iteration with a fence after each part (``model`` where there are none): its outputs, and ns by part."""
        times: StageTimes = {}
        if self.parts is None:
            return timed("model", self.step, fence, clock, times)(), times
        kept = self.parts
        self.parts = SimpleNamespace(
            **{name: timed(name, part, fence, clock, times) for name, part in vars(kept).items()}
        )
        try:
            outputs = self.step()
            fence(outputs)
        finally:
            self.parts = kept
        return outputs, times

    @abstractmethod
    def output_dtype(self) -> str:
        """Framework's name of the dtype of the first output of the model (before any cast for NumPy).

        Asked for after ``verify``, which may have to see it.
        """


class Framework(ABC):
    """One framework on one device of one process."""

    name: str
    #: Distributions whose versions are recorded.
    distributions: tuple[str, ...]
    #: Modes the framework has; others raise Unsupported with the reason from ``mode_reasons``.
    modes: tuple[str, ...]
    mode_reasons: dict[str, str] = {}

    #: Whether a fence is the barrier and a host read (METAL.md rule 5), or the barrier alone.
    reads_back: bool = True

    #: Whether this process is there for ``audit``, and times nothing: set before ``open``.
    auditing: bool = False

    #: The clock of every timed region, in ns. ``fake`` replaces it by a virtual one.
    clock: Callable[[], int] = staticmethod(time.perf_counter_ns)
    #: CPU time of this process, all threads, in ns.
    cpu_clock: Callable[[], int] = staticmethod(time.process_time_ns)

    def load_twin(self, workload: str, package: str = "workloads") -> Any:
        """The module with this framework's model code; ``package`` is where such modules lie.

        Raises:
            Unsupported: the workload has no twin for this framework.
        """
        name = f"{package}.{workload}.{workload}_{self.name}"
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise Unsupported(f"workload {workload!r} has no {self.name} twin") from error

    def calibrate(self) -> None:
        """A small fixed piece of work on the host's processor: its time shows throttling and neighbours."""
        hashlib.sha256(_CALIBRATION_BLOCK).digest()

    @abstractmethod
    def open(self, device: str, threads: int) -> str:
        """Import the framework, set its threads, choose ``device``; returns the device's name.

        Raises:
            Unavailable: the device cannot be had, with the reason word.
        """

    def unsupported(self, error: BaseException) -> str | None:
        """The framework's own words when ``error`` says that it lacks this (no kernel, no such dtype here), else None.

        Known by the exception's type or message, never by guessing: all else stays a failure.
        """
        return None

    def program(self, job: Job) -> Program:
        """Build the twin and load what ``job`` gives it; nothing is run yet.

        Raises:
            Unsupported: no such mode or precision here.
        """
        if job.mode not in self.modes:
            raise Unsupported(self.mode_reasons[job.mode])
        return self.load(job)

    @abstractmethod
    def load(self, job: Job) -> Program:
        """See ``program``; the mode is one of ``modes``.

        Raises:
            Unsupported: no such precision here.
        """

    def audit(self, load: Callable[[], Program], mode: str) -> Audit:
        """Where the operators of one iteration ran; ``load`` makes the program anew, ``mode`` is its own.

        Asked for in a pass of its own: whatever it switches on stays on until the process ends.

        Raises:
            Unsupported: this framework has no such audit.
        """
        raise Unsupported(f"{self.name} has no audit of where its operators run")

    @abstractmethod
    def matmul(self, a: Any, b: Any, precision: str) -> Step:
        """A step that computes a @ b, (m, k) x (k, n) float32 NumPy, through the very mechanism of ``precision``."""

    @abstractmethod
    def copy(self, nbytes: int) -> Step:
        """A step that reads ``nbytes`` on the device and writes as many."""

    @abstractmethod
    def barrier(self, out: Any) -> None:
        """Wait with the framework's own barrier until ``out`` (None: nothing yet) and all before it are computed."""

    @abstractmethod
    def host_read(self, out: Any) -> float:
        """Read one scalar that depends on ``out`` back to the host; cannot return before ``out`` exists."""

    @abstractmethod
    def to_numpy(self, out: Any) -> Any:
        """One tensor as NumPy, float32 or wider."""

    @abstractmethod
    def dtype_name(self, out: Any) -> str:
        """``float32``, ``float16``, ``bfloat16``, ...: what the framework says the tensor is."""
