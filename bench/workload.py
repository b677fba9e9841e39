"""What a workload is: one spec in NumPy, from which every framework's twin gets the same bytes.

A folder ``workloads/<name>/`` holds ``__init__.py`` with ``workload = <a Workload>`` and one twin per framework,
``<name>_<framework>.py`` (the contract of a twin is in ``bench/frameworks/base.py``). NumPy only: workers import it.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, unknown

Arrays = dict[str, np.ndarray[Any, Any]]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Size:
    """A named configuration. ``reference`` says who makes the truth: ``numpy-fp64``, or ``cpu-fp32`` (a framework)."""

    config: Config
    batch: int
    reference: str = "numpy-fp64"


@dataclass(frozen=True)
class Tolerance:
    """The largest error that is still right, and why this one."""

    limit: float
    reason: str


@dataclass(frozen=True)
class Convergence:
    """A real training run: ``steps`` minibatches in order, then a held-out set and the accuracy that must be reached.

    ``batches`` holds the training inputs with a leading step axis: {"x": (steps, batch, ...), ...}.
    """

    batches: Arrays
    held_out: Arrays
    labels: str
    scores: str
    accuracy: float


#: Optimizer steps that a training cell is compared over, where its workload does not say otherwise.
VERIFIED_STEPS = 5


class Workload(ABC):
    """One named computation. Every method is pure: the same arguments give the same bytes on every machine.

    ``config`` is always what ``settings`` gives: the size's own words and what phase and variant add to them.
    """

    name: str
    #: What is counted: throughput is ``<item>/s``.
    item: str
    sizes: Mapping[str, Size]
    #: phase -> its variants, the default first. A number in a variant's name is written N: ``tokens-N``.
    phases: Mapping[str, tuple[str, ...]]
    #: phase -> precisions of a run for which nobody named any; None: all phases, at the default precisions; {}: none,
    #: the workload runs when it is named.
    main: Mapping[str, tuple[str, ...]] | None = None
    #: Outputs of the model that ``postprocess`` reads, the only ones that a pipeline brings to the host; (): all.
    fetched: tuple[str, ...] = ()

    @property
    def default_size(self) -> str:
        """The size that is meant when none is named: the first that is not for tests."""
        return next(name for name in self.sizes if name != "tiny-test")

    def settings(self, size: str, phase: str, variant: str) -> Config:
        """The config of ``size`` with what ``phase`` and ``variant`` add (number of tokens, memory layout, ...).

        Raises:
            UsageError: the number in the variant's name is out of range; says the range.
        """
        return self.sizes[size].config

    def producer(self, size: str, phase: str) -> str:
        """Who makes the truth: ``numpy-fp64`` (``reference``), or ``cpu-fp32`` (a framework on the CPU)."""
        return self.sizes[size].reference

    def verified_steps(self, config: Config) -> int:
        """How many optimizer steps are compared with the reference; at least 2, or no update is ever seen."""
        return VERIFIED_STEPS

    @abstractmethod
    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Canonical name and shape of every weight, upstream's names, weights as [out, in]."""

    @abstractmethod
    def weights(self, config: Config, seed: int) -> Arrays:
        """Seeded float32 weights, scaled so that activations stay in fp16's range and no denormals appear."""

    @abstractmethod
    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """Seeded (or real) inputs of one iteration: floats as float32, indices as int32; first axis is the batch.

        ``pipeline``: the bytes of files, uint8 (B, longest), and their ``lengths``, int32 (B,).
        """

    def ignores(self, key: str) -> bool:
        """Whether a file of weights may hold ``key`` although no twin loads it (BatchNorm's counters, say)."""
        return False

    def from_upstream(self, config: Config, given: Arrays) -> Arrays:
        """Tensors of a published checkpoint, in any of its known namings, under canonical names; nothing is checked."""
        return dict(given)

    def prepared(self, config: Config, phase: str, weights: Arrays) -> Arrays:
        """The weights as twins load them: one implementation of what is done at load (folded BatchNorm, say)."""
        return weights

    def file_inputs(self, config: Config, phase: str, batch: int, path: Path) -> Arrays:
        """Inputs from a media file that the user gave (an image, a recording), ``batch`` times the same.

        Raises:
            UsageError: the workload or phase takes no such file, or it cannot be read.
        """
        raise UsageError(f"{self.name} takes inputs as .npz, not {path.name!r}")

    def preprocess(self, config: Config, inputs: Arrays) -> tuple[Arrays, Any]:
        """``pipeline``, on the host: what ``inputs`` gives -> inputs of the model, and what ``postprocess`` must know.

        Raises:
            TensorError: the bytes of a file cannot be decoded.
        """
        raise UsageError(f"workload {self.name!r} has no pipeline")

    def postprocess(self, config: Config, outputs: Arrays, context: Any) -> Arrays:
        """``pipeline``, on the host: outputs of the model (float32 NumPy) -> the results, named arrays."""
        raise UsageError(f"workload {self.name!r} has no pipeline")

    def answer(self, config: Config, inputs: Arrays, results: Arrays) -> str:
        """The pipeline's results for people, in a line: "2 objects: person 0.91, ...", or the spoken text."""
        return ""

    def items(self, config: Config, phase: str, batch: int) -> dict[str, float]:
        """Unit -> how many of it one iteration does, the headline first: ``{"audio s": 30, "tokens": 32}``."""
        return {self.item: float(batch)}

    def check_inputs(self, config: Config, inputs: Arrays) -> None:
        """Refuse inputs from a file whose values, not only shapes and dtypes, cannot be meant.

        Raises:
            TensorError: names the tensor, the value and what is valid.
        """
        return None

    @abstractmethod
    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """The truth in float64 NumPy: named outputs.

        ``training`` gives ``loss`` (), ``grad.<canonical weight name>`` for all that is trained, ``losses``: the
        loss before each of ``verified_steps`` optimizer steps, and ``state.<name>``, after them, for weights that are
        not trained.
        ``pipeline`` gives the model's inputs and outputs. Integer outputs are judged by the share that differs.
        Never asked for where ``producer`` says ``cpu-fp32`` and a framework is there to make it.
        """

    @abstractmethod
    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Floating-point operations of one iteration, multiply-add = 2; a lower bound is honest, an upper is not."""

    @abstractmethod
    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """How far ``output`` may lie from the reference at ``precision`` in a model of ``config``'s size."""

    def bytes_moved(self, config: Config, phase: str, weights: Arrays, inputs: Arrays) -> float:
        """The fewest bytes one iteration must read at fp32: each weight and input once."""
        return float(sum(array.nbytes for array in (*weights.values(), *inputs.values())))

    def optimizer(self, variant: str) -> dict[str, float | str]:
        """The hyper-parameters of ``training``'s variant, as the adapters take them."""
        raise UsageError(f"workload {self.name!r} has no training phase")

    def convergence(self, config: Config, seed: int) -> Convergence | None:
        """Real training data for a run to convergence, or None where the workload has none."""
        return None


def names() -> list[str]:
    """All workloads that ship: the folders of ``workloads/``."""
    import workloads

    return sorted(module.name for module in pkgutil.iter_modules(workloads.__path__) if module.ispkg)


def get(name: str) -> Workload:
    """The workload of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name not in names():
        raise unknown("workload", name, names())
    workload = importlib.import_module(f"workloads.{name}").workload
    assert isinstance(workload, Workload)
    return workload
