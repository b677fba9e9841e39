"""The seven layers in MLX. Twins: softshrink_torch.py, softshrink_tensorflow.py, softshrink_jax.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from bench.errors import Unsupported

Activation = Callable[[mx.array, float], mx.array]


def native(x: mx.array, lambd: float) -> mx.array:
    return nn.softshrink(x, lambd)


def round_trip(x: mx.array, lambd: float) -> mx.array:
    """On the CPU's stream: memory is shared, so nothing is copied, but the two devices wait for each other."""
    return mx.subtract(x, mx.clip(x, -lambd, lambd, stream=mx.cpu), stream=mx.cpu)


def composed(x: mx.array, lambd: float) -> mx.array:
    return x - mx.clip(x, -lambd, lambd)


# --- kernel: Metal's language, compiled by MLX when it is first called ------------------------------------------------

SHRINK = """
    uint i = thread_position_in_grid.x;
    float v = float(x[i]);
    y[i] = T(v > LAMBD ? v - LAMBD : (v < -LAMBD ? v + LAMBD : 0.0f));
"""
BACKWARD = """
    uint i = thread_position_in_grid.x;
    out[i] = float(y[i]) != 0.0f ? g[i] : T(0.0f);
"""
THREADS = 256


def build_kernel(lambd: float) -> Activation:
    """Softshrink by two kernels of our own.

    Raises:
        Unsupported: there is no Metal, or the device is not its GPU; in MLX's own words.
    """
    header = f"constant constexpr float LAMBD = {lambd!r}f;\n"
    shrink, backward = (
        mx.fast.metal_kernel(name=name, input_names=names, output_names=[out], source=source, header=header)
        for name, names, out, source in (
            ("softshrink", ["x"], "y", SHRINK),
            ("softshrink_backward", ["g", "y"], "out", BACKWARD),
        )
    )

    def call(function: Any, *arrays: mx.array) -> mx.array:
        first = arrays[0]
        (out,) = function(
            inputs=list(arrays),
            template=[("T", first.dtype)],
            grid=(first.size, 1, 1),
            threadgroup=(min(THREADS, first.size), 1, 1),
            output_shapes=[first.shape],
            output_dtypes=[first.dtype],
        )
        return out

    try:
        mx.eval(call(shrink, mx.ones(4)))
    except RuntimeError as error:
        raise Unsupported(str(error)) from error

    @mx.custom_function
    def activation(x: mx.array) -> mx.array:
        return call(shrink, x)

    @activation.vjp
    def activation_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
        return call(backward, cotangent, output)

    return lambda x, lambd: activation(x)


def way_of(name: str, lambd: float) -> Activation:
    """The function of one way."""
    ways: Mapping[str, Activation] = {"native": native, "round-trip": round_trip, "composed": composed}
    return ways[name] if name in ways else build_kernel(lambd)


class Model(nn.Module):
    """fc1, softshrink, ..., fc7, softshrink."""

    def __init__(self, width: int, way: str, lambd: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, width)
        self.fc5 = nn.Linear(width, width)
        self.fc6 = nn.Linear(width, width)
        self.fc7 = nn.Linear(width, width)
        self._way, self._lambd = way_of(way, lambd), lambd

    def __call__(self, x: mx.array) -> mx.array:  # (B, width)
        for fc in (self.fc1, self.fc2, self.fc3, self.fc4, self.fc5, self.fc6, self.fc7):
            x = self._way(fc(x), self._lambd)
        return x


def build(config: Mapping[str, Any]) -> Model:
    return Model(config["width"], config["way"], config["lambd"])


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Linear layers hold [out, in], as the canonical weights do."""
    return key, value


def inference(model: Model, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    return {"out": model(inputs["x"])}


def training(model: Model, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    return {"out": model(inputs["x"])}


def loss(outputs: dict[str, mx.array], inputs: dict[str, mx.array]) -> mx.array:
    """Mean squared error over batch and features, in fp32: a million squares do not add up in half."""
    out, target = outputs["out"].astype(mx.float32), inputs["target"].astype(mx.float32)
    return nn.losses.mse_loss(out, target, reduction="mean")
