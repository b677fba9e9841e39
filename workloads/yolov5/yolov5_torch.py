"""YOLOv5 in PyTorch. Twins: yolov5_tensorflow.py, yolov5_jax.py, yolov5_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, STRIDES, Layer, layers, outputs_per_anchor
from workloads.yolov5.loss_torch import loss

__all__ = ["build", "inference", "layout", "loss", "remap", "training"]


class Conv(nn.Module):
    """Convolution, BatchNorm (or, folded, the convolution's bias), SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, fused: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=fused)
        self.bn = nn.Identity() if fused else nn.BatchNorm2d(outputs, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)
        # Backward needs SiLU's input: in place it would only be copied first.
        return F.silu(self.bn(self.conv(x)), inplace=not self.training)


class Bottleneck(nn.Module):
    """1x1, 3x3, and the input added where there is a shortcut."""

    def __init__(self, channels: int, shortcut: bool, fused: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, 1, 1, 0, fused)
        self.cv2 = Conv(channels, channels, 3, 1, 1, fused)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, H, W)
        y = self.cv2(self.cv1(x))
        return y.add_(x) if self.shortcut else y  # no gradient needs y, and a fresh buffer is dear in page faults


class C3(nn.Module):
    """Half of the channels through the bottlenecks, half past them, and a 1x1 over both."""

    def __init__(self, layer: Layer, fused: bool) -> None:
        super().__init__()
        hidden = layer.outputs // 2
        self.cv1 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv2 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv3 = Conv(2 * hidden, layer.outputs, 1, 1, 0, fused)
        self.m = nn.Sequential(*(Bottleneck(hidden, layer.shortcut, fused) for _ in range(layer.repeats)))

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, H, W) -> (B, outputs, H, W)
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], dim=1))


class SPPF(nn.Module):
    """Three max-pools in a chain, which see 5, 9 and 13 pixels, beside their input."""

    def __init__(self, layer: Layer, fused: bool) -> None:
        super().__init__()
        hidden = layer.inputs // 2
        self.cv1 = Conv(layer.inputs, hidden, 1, 1, 0, fused)
        self.cv2 = Conv(4 * hidden, layer.outputs, 1, 1, 0, fused)
        self.kernel = layer.kernel

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, H, W) -> (B, outputs, H, W)
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], self.kernel, stride=1, padding=self.kernel // 2))
        return self.cv2(torch.cat(pooled, dim=1))


class Upsample(nn.Module):
    """Each pixel becomes 2x2."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, 2H, 2W)
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Concat(nn.Module):
    """Channels of several feature maps, one after the other."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)


class Detect(nn.Module):
    """A 1x1 convolution for each of three feature maps, and the decoding of what it says into boxes."""

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.m = nn.ModuleList(nn.Conv2d(inputs, len(ANCHORS[0]) * outputs, 1) for inputs in channels)
        self.register_buffer("anchors", torch.zeros(len(STRIDES), len(ANCHORS[0]), 2))

    def forward(self, *maps: Tensor) -> list[Tensor]:
        """Raw heads, (B, 3, ny, nx, outputs) each."""
        heads = []
        for conv, x in zip(self.m, maps, strict=True):
            batch, _, height, width = x.shape
            raw = conv(x).view(batch, len(ANCHORS[0]), self.outputs, height, width)
            heads.append(raw.permute(0, 1, 3, 4, 2).contiguous())
        return heads

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Centre, width, height in pixels, objectness, class scores: (B, rows, outputs), in float32.

        bfloat16 has 8 bits: at 640 it could not tell 4 pixels apart, so boxes are never made in it.
        """
        rows = []
        for head, anchors, stride in zip(heads, self.anchors.float(), STRIDES, strict=True):
            batch, count, height, width, outputs = head.shape
            scores = torch.sigmoid(head.float())
            y = torch.arange(height, dtype=torch.float32, device=head.device)
            x = torch.arange(width, dtype=torch.float32, device=head.device)
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (ny, nx, 2)
            scores[..., 0:2].mul_(2).add_(grid - 0.5).mul_(stride)
            scores[..., 2:4].mul_(2).square_().mul_(stride * anchors.view(count, 1, 1, 2))
            rows.append(scores.view(batch, count * height * width, outputs))
        return torch.cat(rows, dim=1)


class YOLOv5(nn.Module):
    """25 layers; each reads the one before, or those that ``config.py`` names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layers = layers(config)
        self.model = nn.ModuleList(module_of(layer, config, self.layers) for layer in self.layers)
        self.channels_last = config["layout"] == "channels-last"

    def forward(self, x: Tensor) -> list[Tensor]:  # (B, 3, S, S) -> raw heads
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        maps: list[Any] = []
        for layer, module in zip(self.layers, self.model, strict=True):
            maps.append(module(*(maps[source] if source >= 0 else x for source in layer.sources)))
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
    return Upsample() if layer.kind == "Upsample" else Concat()


def build(config: Mapping[str, Any]) -> YOLOv5:
    model = YOLOv5(config)
    if model.channels_last:
        model.to(memory_format=torch.channels_last)
    return model


def layout(config: Mapping[str, Any]) -> str:
    return "NHWC" if config["layout"] == "channels-last" else "NCHW"


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Canonical names and layouts are PyTorch's own."""
    return key, value


def inference(model: YOLOv5, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    heads = model(inputs["images"])
    named = {f"head.{number}": head for number, head in enumerate(heads)}
    return {**named, "predictions": model.model[DETECT].decode(heads)}


def training(model: YOLOv5, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {f"head.{number}": head for number, head in enumerate(model(inputs["images"]))}
    return {**named, "anchors": model.model[DETECT].anchors}
