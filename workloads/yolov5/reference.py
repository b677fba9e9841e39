"""YOLOv5 in NumPy: raw heads and decoded boxes, in the dtype of its arguments; convolutions as matrix products.

The truth is float64; tests also run it in float16, to see every layer's range. Written from the architecture in
``config.py``, independently of the twins: feature maps are (B, C, H, W), layers are functions of named weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workload import Arrays, Config
from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, STRIDES, Layer, layers

Array = np.ndarray[Any, Any]
#: Called with the name and the value of every intermediate result: after each convolution, BatchNorm and activation.
Observer = Callable[[str, Array], None]
#: Rows of an im2col matrix are made for at most this many numbers at a time, so that size x fits into memory.
_BLOCK = 1 << 25


def convolve(x: Array, weight: Array, stride: int, padding: int) -> Array:
    """(B, C, H, W) by (O, C, k, k) -> (B, O, H', W'), zeros around: im2col and one product per image and block of rows.

    float16 is multiplied in float32 and rounded once, as hardware does it; NumPy itself has no fast half product.
    """
    exact = np.result_type(x.dtype, np.float32)
    outputs, kernel = weight.shape[0], weight.shape[-1]
    flat = weight.reshape(outputs, -1).astype(exact)
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    height, width = windows.shape[2:4]
    result = np.empty((len(x), outputs, height, width), x.dtype)
    rows = max(1, _BLOCK // (flat.shape[1] * width))
    for image in range(len(x)):
        for top in range(0, height, rows):
            block = windows[image, :, top : top + rows]  # (C, rows, W', k, k)
            columns = block.transpose(0, 3, 4, 1, 2).reshape(flat.shape[1], -1).astype(exact, copy=False)
            result[image, :, top : top + rows] = (flat @ columns).reshape(outputs, -1, width)
    return result


def max_pool(x: Array, kernel: int) -> Array:
    """Largest of each kernel x kernel window at stride 1, minus infinity around: rows first, then columns."""
    for axis in (2, 3):
        around = [(0, 0)] * 4
        around[axis] = (kernel // 2, kernel // 2)
        padded = np.pad(x, around, constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=axis).max(axis=-1)
    return x


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow at either end."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


class Network:
    """One forward pass over named weights, folded or not. ``state`` then holds BatchNorm's new running statistics."""

    def __init__(self, config: Config, weights: Arrays, train: bool = False, observe: Observer | None = None) -> None:
        self.config, self.weights, self.train = config, weights, train
        self.observe: Observer = observe or (lambda name, value: None)
        self.state: Arrays = {}

    def heads(self, images: Array) -> list[Array]:
        """(B, 3, S, S) -> three (B, 3, ny, nx, 5 + classes), finest first."""
        maps: list[Array] = []
        network = layers(self.config)
        for number, layer in enumerate(network[:DETECT]):
            given = [maps[source] if source >= 0 else images for source in layer.sources]
            maps.append(self._layer(f"model.{number}", layer, given))
        return [
            self._head(f"model.{DETECT}.m.{head}", maps[source]) for head, source in enumerate(network[DETECT].sources)
        ]

    def _layer(self, key: str, layer: Layer, given: list[Array]) -> Array:
        if layer.kind == "Conv":
            return self._conv(key, given[0], layer.stride, layer.padding)
        if layer.kind == "C3":
            return self._c3(key, given[0], layer)
        if layer.kind == "SPPF":
            return self._sppf(key, given[0], layer.kernel)
        if layer.kind == "Upsample":
            return given[0].repeat(2, axis=2).repeat(2, axis=3)
        return np.concatenate(given, axis=1)

    def _conv(self, key: str, x: Array, stride: int, padding: int) -> Array:
        x = convolve(x, self.weights[f"{key}.conv.weight"], stride, padding)
        self.observe(f"{key}.conv", x)
        folded = self.weights.get(f"{key}.conv.bias")
        x = self._normalise(f"{key}.bn", x) if folded is None else x + folded[:, None, None]
        self.observe(f"{key}.bn", x)
        x = x * sigmoid(x)
        self.observe(f"{key}.act", x)
        return x

    def _normalise(self, key: str, x: Array) -> Array:
        """By the running statistics, or in training by the batch's (variance over n; the running one over n - 1)."""
        wide = x.astype(np.result_type(x.dtype, np.float32), copy=False)
        mean, variance = self.weights[f"{key}.running_mean"], self.weights[f"{key}.running_var"]
        if self.train:
            count = x.size // x.shape[1]
            old_mean, old_variance = mean, variance
            mean, variance = wide.mean(axis=(0, 2, 3)), wide.var(axis=(0, 2, 3))
            unbiased = variance * count / (count - 1)
            self.state[f"{key}.running_mean"] = (1 - MOMENTUM) * old_mean + MOMENTUM * mean
            self.state[f"{key}.running_var"] = (1 - MOMENTUM) * old_variance + MOMENTUM * unbiased
        scale = self.weights[f"{key}.weight"] / np.sqrt(variance.astype(wide.dtype) + EPSILON)
        shift = self.weights[f"{key}.bias"] - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).astype(x.dtype, copy=False)

    def _c3(self, key: str, x: Array, layer: Layer) -> Array:
        """cv3 of [bottlenecks of cv1, cv2]; a bottleneck is 1x1, 3x3 and perhaps its input added."""
        main, side = self._conv(f"{key}.cv1", x, 1, 0), self._conv(f"{key}.cv2", x, 1, 0)
        for block in range(layer.repeats):
            inner = self._conv(f"{key}.m.{block}.cv1", main, 1, 0)
            inner = self._conv(f"{key}.m.{block}.cv2", inner, 1, 1)
            main = main + inner if layer.shortcut else inner
            self.observe(f"{key}.m.{block}", main)
        return self._conv(f"{key}.cv3", np.concatenate([main, side], axis=1), 1, 0)

    def _sppf(self, key: str, x: Array, kernel: int) -> Array:
        pooled = [self._conv(f"{key}.cv1", x, 1, 0)]
        for _ in range(3):
            pooled.append(max_pool(pooled[-1], kernel))
        return self._conv(f"{key}.cv2", np.concatenate(pooled, axis=1), 1, 0)

    def _head(self, key: str, x: Array) -> Array:
        raw = convolve(x, self.weights[f"{key}.weight"], 1, 0) + self.weights[f"{key}.bias"][:, None, None]
        self.observe(key, raw)
        batch, channels, height, width = raw.shape
        anchors = len(ANCHORS[0])
        return raw.reshape(batch, anchors, channels // anchors, height, width).transpose(0, 1, 3, 4, 2)


def decode(heads: list[Array], anchors: Array) -> Array:
    """Raw heads and ``anchors`` (3, 3, 2) in cells -> (B, rows, 5 + classes): centre, width and height in pixels of the
    letterboxed image, objectness, class scores; rows ordered by head, anchor, y, x."""
    rows = []
    for head, stride, boxes in zip(heads, STRIDES, anchors, strict=True):
        batch, count, height, width, outputs = head.shape
        scores = sigmoid(head)
        y, x = np.mgrid[:height, :width]
        corner = np.stack([x, y], axis=-1).astype(head.dtype)  # (H, W, 2)
        centre = (2 * scores[..., :2] + corner - 0.5) * stride
        extent = (2 * scores[..., 2:4]) ** 2 * (boxes * stride)[:, None, None]
        decoded = np.concatenate([centre, extent, scores[..., 4:]], axis=-1)
        rows.append(decoded.reshape(batch, count * height * width, outputs))
    return np.concatenate(rows, axis=1)


def forward(config: Config, weights: Arrays, images: Array) -> Arrays:
    """What the twins' ``inference`` gives: ``head.0`` to ``head.2`` raw, and ``predictions``."""
    heads = Network(config, weights).heads(images)
    named = {f"head.{number}": head for number, head in enumerate(heads)}
    return {**named, "predictions": decode(heads, weights[f"model.{DETECT}.anchors"])}


def training(config: Config, weights: Arrays, images: Array) -> Arrays:
    """What the twins' ``training`` gives: the raw heads and ``anchors``, and ``state.<name>`` as JAX has it."""
    network = Network(config, weights, train=True)
    named = {f"head.{number}": head for number, head in enumerate(network.heads(images))}
    state = {f"state.{name}": value for name, value in network.state.items()}
    return {**named, "anchors": weights[f"model.{DETECT}.anchors"], **state}
