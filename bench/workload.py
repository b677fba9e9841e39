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


class Workload(ABC):
    """One named computation. Every method is pure: the same arguments give the same bytes on every machine."""

    name: str
    #: What is counted: throughput is ``<item>/s``.
    item: str
    sizes: Mapping[str, Size]
    #: phase -> its variants, the default first.
    phases: Mapping[str, tuple[str, ...]]

    @property
    def default_size(self) -> str:
        """The size that is meant when none is named: the first that is not for tests."""
        return next(name for name in self.sizes if name != "tiny-test")

    @abstractmethod
    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """Canonical name and shape of every weight, upstream's names, weights as [out, in]."""

    @abstractmethod
    def weights(self, config: Config, seed: int) -> Arrays:
        """Seeded float32 weights, scaled so that activations stay in fp16's range and no denormals appear."""

    @abstractmethod
    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """Seeded (or real) inputs of one iteration: floats as float32, indices as int32; first axis is the batch."""

    def check_inputs(self, config: Config, inputs: Arrays) -> None:
        """Refuse inputs from a file whose values, not only shapes and dtypes, cannot be meant.

        Raises:
            TensorError: names the tensor, the value and what is valid.
        """
        return None

    @abstractmethod
    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """The truth in float64 NumPy: named outputs.

        ``training`` gives ``loss`` (), ``grad.<canonical weight name>`` for all weights, and ``losses`` (5,): the loss
        before each of five optimizer steps.
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
