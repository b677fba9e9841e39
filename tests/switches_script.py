"""Run in a framework's own interpreter by tests/test_switches.py: TF32's switches, and calls of kernels' compilers.

Prints one line, ``FOUND`` and a JSON object. Argument: the framework's name.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ONES = np.ones((4, 4), np.float32)


def of_torch() -> dict[str, Any]:
    """The state of the switches within products of each word, in a process of fp32 and in one of tf32."""
    import torch

    from bench.frameworks import torch as adapter

    def state() -> list[Any]:
        return [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32]

    adapter.Torch().open("cpu", 1)
    seen: dict[str, Any] = {"opened": state()}
    for cell in ("fp32", "tf32"):
        adapter.allow_tf32(cell == "tf32")
        for word in ("fp32", "tf32", "bf16"):
            with adapter.products_of(word):
                seen[f"{word} in {cell}"] = state()
        seen[f"after in {cell}"] = state()
    adapter.allow_tf32(False)
    return {"switches": seen, "kernels": kernels(torch)}


def kernels(torch: Any) -> dict[str, Any]:
    """softshrink's kernels on scripted compilers of CUDA and Metal, which compute with torch and note their calls."""
    from bench.errors import Unsupported
    from workloads.softshrink import kernels_torch

    calls: list[Any] = []

    def compute(name: str, tensors: list[Any], lambd: float | None) -> None:
        if name.startswith("shrink"):
            x, y = tensors
            y.copy_(torch.nn.functional.softshrink(x, lambd))
        else:
            gradient, y, out = tensors
            out.copy_(torch.where(y != 0, gradient, torch.zeros_like(gradient)))

    def compiled(source: str, name: str) -> Any:
        assert f"__global__ void {name.rpartition('_')[0]}_##" in source

        def launch(grid: Any, block: Any, args: list[Any]) -> None:
            calls.append([name, list(grid), list(block), [type(one).__name__ for one in args]])
            tensors = [one for one in args if isinstance(one, torch.Tensor)]
            compute(name, tensors, args[-1] if isinstance(args[-1], float) else None)

        return launch

    def library(source: str) -> Any:
        names = re.findall(r"kernel void (\w+)_##N", source)
        suffixes = re.findall(r"^EXPORT\((\w+),", source, re.MULTILINE)

        def function(name: str) -> Any:
            def call(*args: Any) -> None:
                calls.append([name, [type(one).__name__ for one in args]])
                tensors = [one for one in args if isinstance(one, torch.Tensor)]
                compute(name, tensors, args[-1] if isinstance(args[-1], float) else None)

            return call

        made = [f"{name}_{suffix}" for name in names for suffix in suffixes]
        return SimpleNamespace(**{name: function(name) for name in made})

    torch.cuda._compile_kernel = compiled
    torch.mps.compile_shader = library
    errors = {}
    for device in ("cuda", "mps"):
        shrink = kernels_torch.build(torch.device(device))
        x = torch.linspace(-2, 2, 600).reshape(2, 300).requires_grad_()
        y = torch.nn.functional.softshrink(x)
        (wanted,) = torch.autograd.grad(y.square().sum(), x)
        ours = shrink(x, 0.5)
        (given,) = torch.autograd.grad(ours.square().sum(), x)
        errors[device] = [float((ours - y).detach().abs().max()), float((given - wanted).abs().max())]
        shrink(x.detach().bfloat16(), 0.5)
    try:
        kernels_torch.build(torch.device("meta"))
        refused = ""
    except Unsupported as error:
        refused = str(error)
    return {"calls": calls, "errors": errors, "refused": refused}


def of_tensorflow() -> dict[str, Any]:
    import tensorflow as tf

    from bench.frameworks import tensorflow as adapter

    framework = adapter.TensorFlow()
    framework.open("cpu", 1)
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen: dict[str, Any] = {"opened": enabled()}
    set_to: list[bool] = []
    kept = adapter.allow_tf32

    def noting(allow: bool) -> None:
        set_to.append(allow)
        kept(allow)

    for cell in (False, True):
        kept(cell)
        adapter.allow_tf32 = noting
        for word in ("fp32", "tf32"):
            set_to.clear()
            framework.matmul(ONES, ONES, word)()
            seen[f"{word} in {'tf32' if cell else 'fp32'}"] = [*set_to, enabled()]
        adapter.allow_tf32 = kept
    return {"switches": seen}


def of_jax() -> dict[str, Any]:
    import jax

    from bench.frameworks import jax as adapter

    framework = adapter.Jax()
    framework.open("cpu", 1)
    seen: dict[str, Any] = {"opened": jax.config.jax_default_matmul_precision}
    for cell in ("fp32", "tf32"):
        jax.config.update("jax_default_matmul_precision", adapter.matmul_precision(cell))
        for word in ("fp32", "tf32"):
            step: Any = framework.matmul(ONES, ONES, word)
            text = step.func.lower(*step.args).as_text()
            seen[f"{word} in {cell}"] = re.findall(r"precision = \[(\w+), (\w+)\]", text)
    return {"switches": seen}


if __name__ == "__main__":
    found = {"torch": of_torch, "tensorflow": of_tensorflow, "jax": of_jax}[sys.argv[1]]()
    print("FOUND " + json.dumps(found), flush=True)
