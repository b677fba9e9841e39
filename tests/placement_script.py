"""Run in a framework's own interpreter by tests/test_placement_frameworks.py: saboteurs that its audit must find.

Prints one JSON object. Argument: the framework's name.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.placement_texts import MPS_2_5  # noqa: I001


#: What the line begins with that holds the findings.
MARK = "FOUND "


def program(step: Any) -> Any:
    """The part of a Program that an audit uses."""
    return SimpleNamespace(step=step, measuring=nullcontext)


def of_torch() -> dict[str, Any]:
    """A step that warns as MPS does; a step with a tensor elsewhere (the meta device stands for it); verify on MPS."""
    import torch

    from bench.errors import Unsupported
    from bench.frameworks import torch as adapter

    framework = adapter.Torch()
    framework.auditing = True
    framework.open("cpu", 1)
    x = torch.ones(4, 4)

    def warns() -> Any:
        warnings.warn(MPS_2_5, UserWarning, stacklevel=1)
        return x @ x

    quiet = framework.audit(lambda: program(lambda: x @ x), "eager")
    loud = framework.audit(lambda: program(warns), "eager")
    elsewhere = framework.audit(lambda: program(lambda: torch.nn.functional.softshrink(x.to("meta"))), "eager")

    refusing = object.__new__(adapter.TorchProgram)
    refusing._device = torch.device("mps")  # the name alone: no MPS is needed to make one
    refused = ""
    try:
        with refusing._refusing_fallbacks():
            warns()
    except Unsupported as error:
        refused = str(error)
    with refusing._refusing_fallbacks():
        x @ x
    return {"quiet": asdict(quiet), "loud": asdict(loud), "elsewhere": asdict(elsewhere), "refused": refused}


def of_tensorflow() -> dict[str, Any]:
    """On a machine without a GPU everything for a GPU falls back: the same step, once for the CPU and once "for" it."""
    import tensorflow as tf

    from bench.frameworks.tensorflow import TensorFlow

    framework = TensorFlow()
    framework.auditing = True
    framework.open("cpu", 1)
    x = tf.ones((4, 4))

    def strict() -> Any:
        def step() -> Any:
            with tf.device("/GPU:0"):
                return tf.linalg.matmul(x, x)

        return program(step)

    def plain() -> Any:
        function = tf.function(lambda a: tf.cumsum(tf.linalg.matmul(a, a)), jit_compile=False)
        return program(lambda: function(x))

    on_cpu = framework.audit(plain, "compiled")
    pinned = framework.audit(strict, "eager")
    framework._type = "GPU"
    spoofed = framework.audit(plain, "compiled")
    return {"cpu": asdict(on_cpu), "pinned": asdict(pinned), "spoofed": asdict(spoofed)}


def of_jax() -> dict[str, Any]:
    """A step that calls the host, and a result on another device than the program's."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from bench.frameworks.jax import Jax, elsewhere_of

    framework = Jax()
    framework.open("cpu", 1)
    x = jnp.ones((4, 4))

    def host(a: Any) -> Any:
        return jax.pure_callback(lambda value: np.asarray(value), jax.ShapeDtypeStruct(a.shape, a.dtype), a)

    quiet = framework.audit(lambda: program(lambda: jax.jit(lambda a: a @ a)(x)), "compiled")
    calls = framework.audit(lambda: program(lambda: jax.jit(lambda a: host(host(a)) @ a)(x)), "compiled")
    other = elsewhere_of({"out": x}, "some other device")
    return {"quiet": asdict(quiet), "calls": asdict(calls), "other": other}


def of_mlx() -> dict[str, Any]:
    """MLX says that there is nothing to audit; and an operator on a stream that lacks it raises, as that says."""
    import mlx.core as mx

    from bench.errors import Unsupported
    from bench.frameworks import mlx as adapter

    framework = adapter.Mlx()
    framework.open("cpu", 1)
    try:
        framework.audit(lambda: program(lambda: mx.ones(1)), "eager")
        said = ""
    except Unsupported as error:
        said = str(error)
    try:
        mx.eval(mx.add(mx.ones(2), 1, stream=mx.gpu))
        raised = ""
    except (RuntimeError, ValueError) as error:
        raised = str(error)
    return {"said": said, "raised": raised}


if __name__ == "__main__":
    found = {"torch": of_torch, "tensorflow": of_tensorflow, "jax": of_jax, "mlx": of_mlx}[sys.argv[1]]()
    # TensorFlow leaves lines of its own in the buffer of standard output, which come out after this one.
    print(MARK + json.dumps(found), flush=True)
