"""Run in a framework's interpreter: that framework's YOLOv5 loss and its gradients, for all cases of a file.

    python -m tests.yolov5_loss_script FRAMEWORK CASES.npz RESULTS.npz

``CASES`` holds ``<case>/head.0``, ..., ``<case>/anchors``, ``<case>/targets``. ``RESULTS`` gets ``<case>/loss`` and
``<case>/head.i`` (the gradient), and ``<saboteur>/<case>/loss`` from the same code with one rule broken.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.workload import Arrays

HEADS = ("head.0", "head.1", "head.2")

#: Name -> the case that must see it, and the change of the source, in each framework's words.
SABOTEURS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "first wins": ("small", [("order > order[:, None]", "order < order[:, None]")]),
    "ratio of 2": ("small", [("ANCHOR_RATIO = 4.0", "ANCHOR_RATIO = 2.0")]),
    "padding counts": ("small", [("fits = real[:, None] & fits_w", "fits = fits_w")]),
    "one class is told apart": ("one class", [("if values == 6:", "if values == 5:")]),
    "alpha has a gradient": (
        "small",
        [
            ("(1 + EPSILON))).detach()", "(1 + EPSILON)))"),
            ("alpha = tf.stop_gradient(", "alpha = ("),
            ("alpha = jax.lax.stop_gradient(", "alpha = ("),
            ("alpha = mx.stop_gradient(", "alpha = ("),
        ],
    ),
}


def by_torch(twin: Any, compiled: bool) -> Callable[[Arrays], Arrays]:
    import torch

    torch.set_num_threads(1)

    def run(case: Arrays) -> Arrays:
        tensors = {name: torch.tensor(value) for name, value in case.items()}
        for head in HEADS:
            tensors[head].requires_grad_()
        value = twin.loss(tensors, tensors)
        value.backward()
        return {"loss": value.detach().numpy(), **{head: tensors[head].grad.numpy() for head in HEADS}}

    return run


def by_tensorflow(twin: Any, compiled: bool) -> Callable[[Arrays], Arrays]:
    import tensorflow as tf

    def both(tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            heads = {head: tensors[head] for head in HEADS}
            tape.watch(heads)
            value = twin.loss({**tensors, **heads}, tensors)
        return value, tape.gradient(value, heads)

    call = tf.function(both) if compiled else both

    def run(case: Arrays) -> Arrays:
        value, gradients = call({name: tf.constant(array) for name, array in case.items()})
        return {"loss": value.numpy(), **{head: gradients[head].numpy() for head in HEADS}}

    return run


def by_jax(twin: Any, compiled: bool) -> Callable[[Arrays], Arrays]:
    import jax

    def value(heads: Any, rest: Any) -> Any:
        return twin.loss({**rest, **heads}, rest)

    both = jax.value_and_grad(value)
    call = jax.jit(both) if compiled else both

    def run(case: Arrays) -> Arrays:
        tensors = {name: jax.numpy.asarray(array) for name, array in case.items()}
        heads, rest = (
            {name: tensors[name] for name in tensors if (name in HEADS) == wanted} for wanted in (True, False)
        )
        result, gradients = call(heads, rest)
        return {"loss": np.asarray(result), **{head: np.asarray(gradients[head]) for head in HEADS}}

    return run


def by_mlx(twin: Any, compiled: bool) -> Callable[[Arrays], Arrays]:
    import mlx.core as mx

    def value(heads: Any, rest: Any) -> Any:
        return twin.loss({**rest, **heads}, rest)

    # Never compiled: MLX's CPU build starts a C++ compiler for every fused kernel.
    both = mx.value_and_grad(value)

    def run(case: Arrays) -> Arrays:
        tensors = {name: mx.array(array) for name, array in case.items()}
        heads, rest = (
            {name: tensors[name] for name in tensors if (name in HEADS) == wanted} for wanted in (True, False)
        )
        result, gradients = both(heads, rest)
        return {"loss": np.array(result), **{head: np.array(gradients[head]) for head in HEADS}}

    return run


def broken(framework: str, changes: list[tuple[str, str]]) -> Any:
    """The twin's module with one rule broken: whichever of ``changes`` (old, new) its source has."""
    source = Path(f"workloads/yolov5/loss_{framework}.py").read_text(encoding="utf-8")
    fitting = [change for change in changes if source.count(change[0]) == 1]
    if len(fitting) != 1:
        raise SystemExit(f"loss_{framework}.py: {len(fitting)} of {changes} fit")
    module = types.ModuleType("saboteur")
    exec(source.replace(*fitting[0]), module.__dict__)
    return module


def main(framework: str, cases_file: str, results_file: str) -> None:
    """See the module."""
    runner = {"torch": by_torch, "tensorflow": by_tensorflow, "jax": by_jax, "mlx": by_mlx}[framework]
    cases: dict[str, Arrays] = defaultdict(dict)
    with np.load(cases_file) as stored:
        for name, value in stored.items():
            case, tensor = name.split("/")
            cases[case][tensor] = value
    run = runner(importlib.import_module(f"workloads.yolov5.loss_{framework}"), True)
    results = {f"{case}/{name}": value for case, given in cases.items() for name, value in run(given).items()}
    for saboteur, (case, changes) in SABOTEURS.items():
        # TensorFlow is quicker without a graph here, JAX with one.
        found = runner(broken(framework, changes), framework == "jax")(cases[case])
        results.update({f"{saboteur}/{name}": value for name, value in found.items()})
    np.savez(results_file, **results)  # type: ignore[arg-type]  # numpy's stub takes the names for its option


if __name__ == "__main__":
    main(*sys.argv[1:])
