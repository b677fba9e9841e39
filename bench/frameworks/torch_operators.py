"""Listening to torch: every operator that is dispatched, and every warning. For audits; never in a timed region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.frameworks.placement import Fallback


class Operators(TorchDispatchMode):
    """Counts the operators that are dispatched while it is entered, and those with a tensor on another device.

    A scalar that lies on the host is no work there. What MPS falls back inside one operator is not seen from here: its
    results are on the device again; torch's warning tells.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type, self.calls, self.elsewhere = device_type, 0, Counter[tuple[str, str]]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        self.calls += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        for other in {tensor.device.type for tensor in tensors} - {self.device_type}:
            self.elsewhere[function.name(), other] += 1
        return out

    def fallbacks(self) -> list[Fallback]:
        """One for each operator and device."""
        return [
            Fallback(operator, other, calls, f"{operator} reads or writes a tensor on {other}")
            for (operator, other), calls in self.elsewhere.items()
        ]


@contextmanager
def warn_always() -> Iterator[None]:
    """TORCH_WARN_ONCE warns once per process otherwise."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        yield
    finally:
        torch.set_warn_always(before)
