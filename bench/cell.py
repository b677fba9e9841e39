"""The words of a cell: what is computed, where and how. Standard library only: workers import this too."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

PHASES = ("inference", "pipeline", "training")
DEVICES = ("cpu", "metal", "cuda")
#: ``tf32`` is fp32 whose matrix products may round their operands to 11 bits; it exists on some GPUs only.
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp-fp16", "amp-bf16")
#: ``xla`` is TensorFlow's second compiler; elsewhere ``compiled`` already is the framework's compiler.
MODES = ("eager", "compiled", "xla")
#: The variant of a phase that has only one.
DEFAULT_VARIANT = "default"
#: Device, precision and mode of what another tool measured: its files do not say.
UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class Cell:
    """One square of the grid. ``variant`` is a named form of the phase (the optimizer of ``training``, say)."""

    workload: str
    size: str
    phase: str
    variant: str
    batch: int
    environment: str
    device: str
    precision: str
    mode: str

    @cached_property
    def id(self) -> str:
        """Twelve hex digits over the words, without versions: the same cell in every release and on every machine."""
        words = "\n".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))
        return hashlib.sha256(words.encode()).hexdigest()[:12]

    @property
    def work(self) -> tuple[str, str, str, str, int]:
        """What is computed, without where and how: cells with the same work do the same thing."""
        return (self.workload, self.size, self.phase, self.variant, self.batch)

    @property
    def phase_label(self) -> str:
        """``training/adam``, or ``inference`` where the phase has one variant only."""
        return self.phase if self.variant == DEFAULT_VARIANT else f"{self.phase}/{self.variant}"

    @property
    def label(self) -> str:
        """``mlp:digits training/sgd b64 torch/cpu fp32 eager``: one line for people."""
        where = f"{self.environment}/{self.device} {self.precision} {self.mode}"
        return f"{self.workload}:{self.size} {self.phase_label} b{self.batch} {where}"

    def but(self, **words: Any) -> Cell:
        """The same cell with some words changed."""
        return replace(self, **words)

    def words(self) -> dict[str, Any]:
        """The words as a dictionary, in the order of the fields."""
        return asdict(self)
