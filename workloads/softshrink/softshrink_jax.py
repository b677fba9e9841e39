"""The seven layers in JAX: pure functions of a pytree. Twins: softshrink_torch.py, softshrink_tensorflow.py,
softshrink_mlx.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.errors import Unsupported

Params = dict[str, dict[str, jax.Array]]


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["weight"] + layer["bias"]


def composed(x: jax.Array, lambd: float) -> jax.Array:
    return x - jnp.clip(x, -lambd, lambd)


# --- round trip: JAX never falls back, so this is what its users write for an operator that a backend lacks -----------


def on_host(function: Callable[..., Any], like: jax.Array, *arrays: jax.Array) -> jax.Array:
    """``function`` of NumPy's float32, from within a compiled program; the result is as ``like``."""

    def call(*given: Any) -> Any:
        wide = [np.asarray(array, dtype=np.float32) for array in given]
        return np.asarray(function(*wide)).astype(like.dtype)

    return jax.pure_callback(call, jax.ShapeDtypeStruct(like.shape, like.dtype), *arrays)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def round_trip(x: jax.Array, lambd: float) -> jax.Array:
    return on_host(lambda a: a - np.clip(a, -lambd, lambd), x, x)


def _round_trip_forward(x: jax.Array, lambd: float) -> tuple[jax.Array, jax.Array]:
    y = round_trip(x, lambd)
    return y, y


def _round_trip_backward(lambd: float, y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (on_host(lambda g, a: np.where(a != 0, g, 0), gradient, gradient, y),)


round_trip.defvjp(_round_trip_forward, _round_trip_backward)


# --- kernel: Pallas, by Triton on a GPU -------------------------------------------------------------------------------


def by_rows(body: Callable[..., None], *arrays: jax.Array) -> jax.Array:
    """``body`` over rows of (B, width) arrays; the width must be a power of two, as Triton's blocks are."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    # Its second name is the one of JAX 0.5, which Apple's plugin needs.
    parameters: Any = getattr(triton, "CompilerParams", None) or getattr(triton, "TritonCompilerParams", None)
    rows, width = arrays[0].shape
    row = pl.BlockSpec((1, width), lambda index: (index, 0))
    shape = jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)
    call = pl.pallas_call(
        body,
        out_shape=shape,
        grid=(rows,),
        in_specs=[row] * len(arrays),
        out_specs=row,
        compiler_params=parameters(),
    )
    result: jax.Array = call(*arrays)
    return result


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def kernel(x: jax.Array, lambd: float) -> jax.Array:
    def body(source: Any, target: Any) -> None:
        v = source[...]
        target[...] = jnp.where(v > lambd, v - lambd, jnp.where(v < -lambd, v + lambd, jnp.zeros_like(v)))

    return by_rows(body, x)


def _kernel_forward(x: jax.Array, lambd: float) -> tuple[jax.Array, jax.Array]:
    y = kernel(x, lambd)
    return y, y


def _kernel_backward(lambd: float, y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    def body(gradient: Any, y: Any, target: Any) -> None:
        target[...] = jnp.where(y[...] != 0, gradient[...], jnp.zeros_like(gradient[...]))

    return (by_rows(body, gradient, y),)


kernel.defvjp(_kernel_forward, _kernel_backward)

WAYS: Mapping[str, Callable[[jax.Array, float], jax.Array]] = {
    "round-trip": round_trip,
    "composed": composed,
    "kernel": kernel,
}


def forward(params: Params, x: jax.Array, config: Mapping[str, Any]) -> jax.Array:  # (B, width)
    """fc1, softshrink, ..., fc7, softshrink."""
    shrink = WAYS[config["way"]]
    for fc in ("fc1", "fc2", "fc3", "fc4", "fc5", "fc6", "fc7"):
        x = shrink(linear(params[fc], x), config["lambd"])
    return x


def build(config: Mapping[str, Any]) -> None:
    """No model object: the parameters are all there is."""
    if config["way"] not in WAYS:
        raise Unsupported("jax.nn has no softshrink: the way composed is what JAX has")


def build_kernels(config: Mapping[str, Any], device: Any) -> bool:
    """Tries the way ``kernel`` on ``device``: what Pallas cannot do there is the reason, in its own words."""
    if config["way"] != "kernel":
        return False
    row = jax.device_put(np.ones((1, config["width"]), np.float32), device)
    try:
        jax.jit(kernel, static_argnums=1).lower(row, config["lambd"]).compile()
    except Exception as error:  # each backend has exceptions of its own for this
        raise Unsupported(f"Pallas: {type(error).__name__}: {str(error).splitlines()[0]}") from error
    return True


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Weights are [in, out] here: ``x @ w`` reads along the batch."""
    return (key, value.T) if key.endswith(".weight") else (key, value)


def inference(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {"out": forward(params, inputs["x"], config)}


def training(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {"out": forward(params, inputs["x"], config)}


def loss(outputs: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> jax.Array:
    """Mean squared error over batch and features, in fp32: a million squares do not add up in half."""
    apart = outputs["out"].astype(jnp.float32) - inputs["target"].astype(jnp.float32)
    return jnp.square(apart).mean()
