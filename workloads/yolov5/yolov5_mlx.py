"""YOLOv5 in MLX. Twins: yolov5_torch.py, yolov5_tensorflow.py, yolov5_jax.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from bench.errors import Unsupported
from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, STRIDES, Layer, layers, outputs_per_anchor
from workloads.yolov5.loss_mlx import loss

__all__ = ["build", "inference", "layout", "loss", "remap", "training"]


class BatchNorm(nn.BatchNorm):
    """Statistics and their use in float32, whatever the activations are; stored in the weights' dtype."""

    running_mean: mx.array
    running_var: mx.array

    def __call__(self, x: mx.array) -> mx.array:  # (B, H, W, C)
        stored = self.running_mean.dtype
        y = super().__call__(x.astype(mx.float32)).astype(x.dtype)
        if self.training:
            self.running_mean, self.running_var = self.running_mean.astype(stored), self.running_var.astype(stored)
        return y


class Conv(nn.Module):
    """Convolution, BatchNorm (or, folded, the convolution's bias), SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, fused: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=fused)
        self.bn = nn.Identity() if fused else BatchNorm(outputs, eps=EPSILON, momentum=MOMENTUM)

    def __call__(self, x: mx.array) -> mx.array:  # (B, H, W, inputs) -> (B, H / stride, W / stride, outputs)
        return nn.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, and the input added where there is a shortcut."""

    def __init__(self, channels: int, shortcut: bool, fused: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, 1, 1, 0, fused)
        self.cv2 = Conv(channels, channels, 3, 1, 1, fused)
        self.shortcut = shortcut

    def __call__(self, x: mx.array) -> mx.array:  # (B, H, W, channels)
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Half of the channels through the bottlenecks, half past them, and a 1x1 over both."""

    def __init__(self, layer: Layer, fused: bool) -> None:
        super().__init__()
        hidden = layer.outputs // 2
        self.cv1 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv2 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv3 = Conv(2 * hidden, layer.outputs, 1, 1, 0, fused)
        self.m = [Bottleneck(hidden, layer.shortcut, fused) for _ in range(layer.repeats)]

    def __call__(self, x: mx.array) -> mx.array:  # (B, H, W, inputs) -> (B, H, W, outputs)
        main = self.cv1(x)
        for bottleneck in self.m:
            main = bottleneck(main)
        return self.cv3(mx.concatenate([main, self.cv2(x)], axis=-1))


class SPPF(nn.Module):
    """Three max-pools in a chain, which see 5, 9 and 13 pixels, beside their input."""

    def __init__(self, layer: Layer, fused: bool) -> None:
        super().__init__()
        hidden = layer.inputs // 2
        self.cv1 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv2 = Conv(4 * hidden, layer.outputs, 1, 1, 0, fused)
        self.pool = nn.MaxPool2d(layer.kernel, stride=1, padding=layer.kernel // 2)

    def __call__(self, x: mx.array) -> mx.array:  # (B, H, W, inputs) -> (B, H, W, outputs)
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        return self.cv2(mx.concatenate(pooled, axis=-1))


class Concat(nn.Module):
    """Channels of several feature maps, one after the other."""

    def __call__(self, *maps: mx.array) -> mx.array:
        return mx.concatenate(maps, axis=-1)


class Detect(nn.Module):
    """A 1x1 convolution for each of three feature maps, and the decoding of what it says into boxes."""

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.m = [nn.Conv2d(inputs, len(ANCHORS[0]) * outputs, 1) for inputs in channels]
        self.anchors = mx.zeros((len(STRIDES), len(ANCHORS[0]), 2))
        self.freeze(keys=["anchors"], recurse=False)

    def __call__(self, *maps: mx.array) -> list[mx.array]:
        """Raw heads, (B, 3, ny, nx, outputs) each."""
        heads = []
        for conv, x in zip(self.m, maps, strict=True):
            batch, height, width, _ = x.shape
            raw = conv(x).reshape(batch, height * width, len(ANCHORS[0]), self.outputs).transpose(0, 2, 1, 3)
            heads.append(raw.reshape(batch, len(ANCHORS[0]), height, width, self.outputs))
        return heads

    def decode(self, heads: list[mx.array]) -> mx.array:
        """Centre, width, height in pixels, objectness, class scores: (B, rows, outputs), in float32.

        bfloat16 has 8 bits: at 640 it could not tell 4 pixels apart, so boxes are never made in it.
        """
        rows = []
        for head, anchors, stride in zip(heads, self.anchors.astype(mx.float32), STRIDES, strict=True):
            batch, count, height, width, outputs = head.shape
            scores = mx.sigmoid(head.astype(mx.float32))
            x, y = mx.arange(width, dtype=mx.float32), mx.arange(height, dtype=mx.float32)
            grid = mx.stack(mx.meshgrid(x, y, indexing="xy"), axis=-1)  # (ny, nx, 2)
            centre = (2 * scores[..., 0:2] + (grid - 0.5)) * stride
            extent = mx.square(2 * scores[..., 2:4]) * (stride * anchors.reshape(count, 1, 1, 2))
            decoded = mx.concatenate([centre, extent, scores[..., 4:]], axis=-1)
            rows.append(decoded.reshape(batch, count * height * width, outputs))
        return mx.concatenate(rows, axis=1)


class YOLOv5(nn.Module):
    """25 layers; each reads the one before, or those that ``config.py`` names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layers = layers(config)
        self.model = [module_of(layer, config, self.layers) for layer in self.layers]

    def __call__(self, x: mx.array) -> list[mx.array]:  # (B, 3, S, S) -> raw heads
        image = x.transpose(0, 2, 3, 1)
        maps: list[Any] = []
        for layer, module in zip(self.layers, self.model, strict=True):
            maps.append(module(*(maps[source] if source >= 0 else image for source in layer.sources)))
        return maps[DETECT]


def module_of(layer: Layer, config: Mapping[str, Any], network: tuple[Layer, ...]) -> nn.Module:
    """The module of one layer."""
    fused = config["fused"]
    if layer.kind == "Conv":
        return Conv(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding, fused)
    if layer.kind == "C3":
        return C3(layer, fused)
    if layer.kind == "SPPF":
        return SPPF(layer, fused)
    if layer.kind == "Detect":
        return Detect(tuple(network[source].outputs for source in layer.sources), outputs_per_anchor(config))
    return nn.Upsample(scale_factor=2.0, mode="nearest") if layer.kind == "Upsample" else Concat()


def build(config: Mapping[str, Any]) -> YOLOv5:
    if config["layout"] == "channels-last":
        raise Unsupported("MLX's convolutions take NHWC only: its default is channels-last already")
    return YOLOv5(config)


def layout(config: Mapping[str, Any]) -> str:
    return "NHWC"


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Filters are [out, kh, kw, in] here."""
    return (key, value.transpose(0, 2, 3, 1)) if value.ndim == 4 else (key, value)


def inference(model: YOLOv5, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    heads = model(inputs["images"])
    named = {f"head.{number}": head for number, head in enumerate(heads)}
    return {**named, "predictions": model.model[DETECT].decode(heads)}


def training(model: YOLOv5, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    named = {f"head.{number}": head for number, head in enumerate(model(inputs["images"]))}
    return {**named, "anchors": model.model[DETECT].anchors}
