"""YOLOv5 in JAX: pure functions of a pytree. Twins: yolov5_torch.py, yolov5_tensorflow.py, yolov5_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, STRIDES, Layer, layers, outputs_per_anchor
from workloads.yolov5.loss_jax import loss

__all__ = ["build", "inference", "layout", "loss", "remap", "trainable", "training"]

Params = dict[str, Any]
#: New running statistics by path, filled during a training pass; None in inference.
State = dict[str, jax.Array] | None


def convolution(weight: jax.Array, x: jax.Array, stride: int, padding: int) -> jax.Array:
    """Zeros on both sides alike: "SAME" would pad only below and right at stride 2. No bias.

    A 1x1 convolution is a matrix product over the channels, which XLA on a CPU does faster under that name.
    """
    if weight.shape[:2] == (1, 1):
        return x @ weight[0, 0]
    around = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(x, weight, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv(params: Params, x: jax.Array, stride: int, padding: int, state: State, path: str) -> jax.Array:
    """Convolution, BatchNorm (or, folded, the convolution's bias), SiLU: (B, H, W, inputs) -> (B, H', W', outputs)."""
    x = convolution(params["conv"]["weight"], x, stride, padding)
    x = batch_norm(params["bn"], x, state, f"{path}.bn") if "bn" in params else x + params["conv"]["bias"]
    return x * jax.nn.sigmoid(x)


def batch_norm(params: Params, x: jax.Array, state: State, path: str) -> jax.Array:
    """By the running statistics, or in training by the batch's, in float32; the running variance is unbiased."""
    wide = x.astype(jnp.float32)
    mean, variance = params["running_mean"].astype(jnp.float32), params["running_var"].astype(jnp.float32)
    if state is not None:
        count = x.size // x.shape[-1]
        old_mean, old_variance = mean, variance
        mean = wide.mean(axis=(0, 1, 2))
        variance = jnp.square(wide - mean).mean(axis=(0, 1, 2))
        unbiased = variance * (count / (count - 1))
        state[f"state.{path}.running_mean"] = lax.stop_gradient((1 - MOMENTUM) * old_mean + MOMENTUM * mean)
        state[f"state.{path}.running_var"] = lax.stop_gradient((1 - MOMENTUM) * old_variance + MOMENTUM * unbiased)
    scale = params["weight"].astype(jnp.float32) * lax.rsqrt(variance + EPSILON)
    return ((wide - mean) * scale + params["bias"].astype(jnp.float32)).astype(x.dtype)


def bottleneck(params: Params, x: jax.Array, shortcut: bool, state: State, path: str) -> jax.Array:
    """1x1, 3x3, and the input added where there is a shortcut."""
    y = conv(params["cv1"], x, 1, 0, state, f"{path}.cv1")
    y = conv(params["cv2"], y, 1, 1, state, f"{path}.cv2")
    return x + y if shortcut else y


def c3(params: Params, x: jax.Array, layer: Layer, state: State, path: str) -> jax.Array:
    """Half of the channels through the bottlenecks, half past them, and a 1x1 over both."""
    main = conv(params["cv1"], x, 1, 0, state, f"{path}.cv1")
    for block in range(layer.repeats):
        main = bottleneck(params["m"][str(block)], main, layer.shortcut, state, f"{path}.m.{block}")
    side = conv(params["cv2"], x, 1, 0, state, f"{path}.cv2")
    return conv(params["cv3"], jnp.concatenate([main, side], axis=-1), 1, 0, state, f"{path}.cv3")


def sppf(params: Params, x: jax.Array, layer: Layer, state: State, path: str) -> jax.Array:
    """Three max-pools in a chain, which see 5, 9 and 13 pixels, beside their input."""
    pooled = [conv(params["cv1"], x, 1, 0, state, f"{path}.cv1")]
    for _ in range(3):
        pooled.append(max_pool(pooled[-1], layer.kernel))
    return conv(params["cv2"], jnp.concatenate(pooled, axis=-1), 1, 0, state, f"{path}.cv2")


def max_pool(x: jax.Array, kernel: int) -> jax.Array:
    """Largest of each kernel x kernel window at stride 1, minus infinity around: (B, H, W, C)."""
    around = ((0, 0), (kernel // 2, kernel // 2), (kernel // 2, kernel // 2), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, kernel, kernel, 1), (1, 1, 1, 1), around)


def upsample(x: jax.Array) -> jax.Array:  # (B, H, W, C) -> (B, 2H, 2W, C)
    """Each pixel becomes 2x2."""
    batch, height, width, channels = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return wide.reshape(batch, 2 * height, 2 * width, channels)


def detect(params: Params, maps: list[jax.Array], outputs: int) -> list[jax.Array]:
    """A 1x1 convolution for each of three feature maps: raw heads, (B, 3, ny, nx, outputs) each."""
    heads = []
    for number, x in enumerate(maps):
        batch, height, width, _ = x.shape
        layer = params["m"][str(number)]
        raw = convolution(layer["weight"], x, 1, 0) + layer["bias"]
        raw = raw.reshape(batch, height * width, len(ANCHORS[0]), outputs).transpose(0, 2, 1, 3)
        heads.append(raw.reshape(batch, len(ANCHORS[0]), height, width, outputs))
    return heads


def decode(heads: list[jax.Array], anchors: jax.Array) -> jax.Array:
    """Centre, width, height in pixels, objectness, class scores: (B, rows, outputs), in float32.

    bfloat16 has 8 bits: at 640 it could not tell 4 pixels apart, so boxes are never made in it.
    """
    rows = []
    for head, boxes, stride in zip(heads, anchors.astype(jnp.float32), STRIDES, strict=True):
        batch, count, height, width, outputs = head.shape
        scores = jax.nn.sigmoid(head.astype(jnp.float32))
        x, y = jnp.meshgrid(jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32))
        grid = jnp.stack([x, y], axis=-1)  # (ny, nx, 2)
        centre = (2 * scores[..., 0:2] + (grid - 0.5)) * stride
        extent = jnp.square(2 * scores[..., 2:4]) * (stride * boxes.reshape(count, 1, 1, 2))
        decoded = jnp.concatenate([centre, extent, scores[..., 4:]], axis=-1)
        rows.append(decoded.reshape(batch, count * height * width, outputs))
    return jnp.concatenate(rows, axis=1)


def forward(params: Params, x: jax.Array, config: Mapping[str, Any], state: State) -> list[jax.Array]:
    """25 layers; each reads the one before, or those that ``config.py`` names: (B, 3, S, S) -> raw heads."""
    image = x.transpose(0, 2, 3, 1)
    maps: list[Any] = []
    for number, layer in enumerate(layers(config)):
        given = [maps[source] if source >= 0 else image for source in layer.sources]
        own, path = params["model"].get(str(number)), f"model.{number}"
        if layer.kind == "Conv":
            maps.append(conv(own, given[0], layer.stride, layer.padding, state, path))
        elif layer.kind == "C3":
            maps.append(c3(own, given[0], layer, state, path))
        elif layer.kind == "SPPF":
            maps.append(sppf(own, given[0], layer, state, path))
        elif layer.kind == "Upsample":
            maps.append(upsample(given[0]))
        elif layer.kind == "Concat":
            maps.append(jnp.concatenate(given, axis=-1))
        else:
            maps.append(detect(own, given, outputs_per_anchor(config)))
    return maps[DETECT]


def build(config: Mapping[str, Any]) -> None:
    """No model object: the parameters are all there is."""


def layout(config: Mapping[str, Any]) -> str:
    return "NHWC"


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Filters are [kh, kw, in, out] here."""
    return (key, value.transpose(2, 3, 1, 0)) if value.ndim == 4 else (key, value)


def trainable(path: str) -> bool:
    """Running statistics and anchors are not."""
    return not path.endswith((".running_mean", ".running_var", ".anchors"))


def inference(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    heads = forward(params, inputs["images"], config, None)
    named = {f"head.{number}": head for number, head in enumerate(heads)}
    return {**named, "predictions": decode(heads, params["model"][str(DETECT)]["anchors"])}


def training(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    state: dict[str, jax.Array] = {}
    heads = forward(params, inputs["images"], config, state)
    anchors = params["model"][str(DETECT)]["anchors"]
    return {**{f"head.{number}": head for number, head in enumerate(heads)}, "anchors": anchors, **state}
