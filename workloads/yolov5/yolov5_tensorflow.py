"""YOLOv5 in TensorFlow (Keras 3). Twins: yolov5_torch.py, yolov5_jax.py, yolov5_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from bench.errors import Unsupported
from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, MOMENTUM, STRIDES, Layer, layers, outputs_per_anchor
from workloads.yolov5.loss_tensorflow import loss

__all__ = ["build", "inference", "layout", "loss", "remap", "training"]


class Convolution(keras.layers.Layer):
    """Zeros on both sides alike: "same" would pad only below and right at stride 2."""

    def __init__(self, outputs: int, kernel: int, stride: int, padding: int, use_bias: bool, name: str) -> None:
        super().__init__(name=name)
        self.outputs, self.kernel, self.stride, self.padding = outputs, kernel, stride, padding
        self.use_bias = use_bias

    def build(self, shape: tuple[int, ...]) -> None:
        self.weight = self.add_weight(name="weight", shape=(self.kernel, self.kernel, shape[-1], self.outputs))
        self.bias = self.add_weight(name="bias", shape=(self.outputs,)) if self.use_bias else None

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, H, W, inputs) -> (B, H', W', outputs)
        around = [[0, 0], [self.padding] * 2, [self.padding] * 2, [0, 0]]
        x = tf.nn.conv2d(x, self.weight, strides=self.stride, padding="SAME" if self.stride == 1 else around)
        return x if self.bias is None else tf.nn.bias_add(x, self.bias)


class BatchNorm(keras.layers.Layer):
    """By the running statistics, or in training by the batch's, in float32; the running variance is the unbiased one,
    which Keras' own layer does not have."""

    def build(self, shape: tuple[int, ...]) -> None:
        side = (shape[-1],)
        self.weight = self.add_weight(name="weight", shape=side, autocast=False)
        self.bias = self.add_weight(name="bias", shape=side, autocast=False)
        self.running_mean = self.add_weight(name="running_mean", shape=side, trainable=False, autocast=False)
        self.running_var = self.add_weight(name="running_var", shape=side, trainable=False, autocast=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, C)
        wide = tf.cast(x, tf.float32)
        mean, variance = tf.cast(self.running_mean, tf.float32), tf.cast(self.running_var, tf.float32)
        if training:
            count = x.shape[0] * x.shape[1] * x.shape[2]
            old_mean, old_variance = mean, variance
            mean = tf.reduce_mean(wide, axis=[0, 1, 2])
            variance = tf.reduce_mean(tf.square(wide - mean), axis=[0, 1, 2])
            unbiased = variance * (count / (count - 1))
            self.running_mean.assign((1 - MOMENTUM) * old_mean + MOMENTUM * mean)
            self.running_var.assign((1 - MOMENTUM) * old_variance + MOMENTUM * unbiased)
        scale = tf.cast(self.weight, tf.float32) * tf.math.rsqrt(variance + EPSILON)
        return tf.cast((wide - mean) * scale + tf.cast(self.bias, tf.float32), x.dtype)


class Conv(keras.layers.Layer):
    """Convolution, BatchNorm (or, folded, the convolution's bias), SiLU."""

    def __init__(self, outputs: int, kernel: int, stride: int, padding: int, fused: bool, name: str) -> None:
        super().__init__(name=name)
        self.conv = Convolution(outputs, kernel, stride, padding, use_bias=fused, name="conv")
        self.bn = None if fused else BatchNorm(name="bn")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, inputs)
        x = self.conv(x)
        x = x if self.bn is None else self.bn(x, training=training)
        return x * tf.sigmoid(x)


class Bottleneck(keras.layers.Layer):
    """1x1, 3x3, and the input added where there is a shortcut."""

    def __init__(self, channels: int, shortcut: bool, fused: bool, name: str) -> None:
        super().__init__(name=name)
        self.cv1 = Conv(channels, 1, 1, 0, fused, "cv1")
        self.cv2 = Conv(channels, 3, 1, 1, fused, "cv2")
        self.shortcut = shortcut

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, channels)
        y = self.cv2(self.cv1(x, training=training), training=training)
        return x + y if self.shortcut else y


class C3(keras.layers.Layer):
    """Half of the channels through the bottlenecks, half past them, and a 1x1 over both."""

    def __init__(self, layer: Layer, fused: bool, name: str) -> None:
        super().__init__(name=name)
        hidden = layer.outputs // 2
        self.cv1 = Conv(hidden, 1, 1, 0, fused, "cv1")
        self.cv2 = Conv(hidden, 1, 1, 0, fused, "cv2")
        self.cv3 = Conv(layer.outputs, 1, 1, 0, fused, "cv3")
        self.m = [Bottleneck(hidden, layer.shortcut, fused, f"m.{block}") for block in range(layer.repeats)]

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, inputs) -> (B, H, W, outputs)
        main = self.cv1(x, training=training)
        for bottleneck in self.m:
            main = bottleneck(main, training=training)
        return self.cv3(tf.concat([main, self.cv2(x, training=training)], axis=-1), training=training)


class SPPF(keras.layers.Layer):
    """Three max-pools in a chain, which see 5, 9 and 13 pixels, beside their input."""

    def __init__(self, layer: Layer, fused: bool, name: str) -> None:
        super().__init__(name=name)
        self.cv1 = Conv(layer.inputs // 2, 1, 1, 0, fused, "cv1")
        self.cv2 = Conv(layer.outputs, 1, 1, 0, fused, "cv2")
        self.kernel = layer.kernel

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, inputs) -> (B, H, W, outputs)
        pooled = [self.cv1(x, training=training)]
        for _ in range(3):  # "SAME" pads with minus infinity here, and symmetrically at stride 1
            pooled.append(tf.nn.max_pool2d(pooled[-1], self.kernel, strides=1, padding="SAME"))
        return self.cv2(tf.concat(pooled, axis=-1), training=training)


class Upsample(keras.layers.Layer):
    """Each pixel becomes 2x2. By repeating: Metal has no kernel for resizing to the nearest (METAL.md)."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:  # (B, H, W, C) -> (B, 2H, 2W, C)
        batch, height, width, channels = x.shape
        wide = tf.concat([x, x], axis=-1)  # the pair of a pixel lies beside it: (B, H, W, 2C)
        rows = tf.reshape(wide, (batch, height, 1, 2 * width * channels))
        return tf.reshape(tf.concat([rows, rows], axis=2), (batch, 2 * height, 2 * width, channels))


class Concat(keras.layers.Layer):
    """Channels of several feature maps, one after the other."""

    def call(self, *maps: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.concat(maps, axis=-1)


class Detect(keras.layers.Layer):
    """A 1x1 convolution for each of three feature maps, and the decoding of what it says into boxes."""

    def __init__(self, outputs: int, name: str) -> None:
        super().__init__(name=name)
        self.outputs = outputs
        self.m = [Convolution(len(ANCHORS[0]) * outputs, 1, 1, 0, True, f"m.{head}") for head in range(len(STRIDES))]

    def build(self, *shapes: Any) -> None:
        shape = (len(STRIDES), len(ANCHORS[0]), 2)
        self.anchors = self.add_weight(name="anchors", shape=shape, trainable=False, autocast=False)

    def call(self, *maps: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Raw heads, (B, 3, ny, nx, outputs) each."""
        heads = []
        for conv, x in zip(self.m, maps, strict=True):
            batch, height, width, _ = x.shape
            raw = tf.reshape(conv(x), (batch, height * width, len(ANCHORS[0]), self.outputs))
            raw = tf.transpose(raw, (0, 2, 1, 3))
            heads.append(tf.reshape(raw, (batch, len(ANCHORS[0]), height, width, self.outputs)))
        return heads

    def decode(self, heads: list[tf.Tensor]) -> tf.Tensor:
        """Centre, width, height in pixels, objectness, class scores: (B, rows, outputs), in float32.

        bfloat16 has 8 bits: at 640 it could not tell 4 pixels apart, so boxes are never made in it.
        """
        rows = []
        anchors = tf.cast(self.anchors, tf.float32)
        for number, (head, stride) in enumerate(zip(heads, STRIDES, strict=True)):
            batch, count, height, width, outputs = head.shape
            scores = tf.sigmoid(tf.cast(head, tf.float32))
            x, y = tf.meshgrid(tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32))
            grid = tf.stack([x, y], axis=-1)  # (ny, nx, 2)
            centre = (2 * scores[..., 0:2] + (grid - 0.5)) * stride
            extent = tf.square(2 * scores[..., 2:4]) * (stride * tf.reshape(anchors[number], (count, 1, 1, 2)))
            decoded = tf.concat([centre, extent, scores[..., 4:]], axis=-1)
            rows.append(tf.reshape(decoded, (batch, count * height * width, outputs)))
        return tf.concat(rows, axis=1)


class YOLOv5(keras.Model):
    """25 layers; each reads the one before, or those that ``config.py`` names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(name="yolov5")
        self.plan = layers(config)
        self.model = [layer_of(number, layer, config) for number, layer in enumerate(self.plan)]

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:  # (B, 3, S, S) -> raw heads
        image = tf.transpose(x, (0, 2, 3, 1))
        maps: list[Any] = []
        for layer, module in zip(self.plan, self.model, strict=True):
            given = (maps[source] if source >= 0 else image for source in layer.sources)
            maps.append(module(*given, training=training))
        return maps[DETECT]


def layer_of(number: int, layer: Layer, config: Mapping[str, Any]) -> keras.layers.Layer:
    """The Keras layer of one layer."""
    name, fused = f"model.{number}", config["fused"]
    if layer.kind == "Conv":
        return Conv(layer.outputs, layer.kernel, layer.stride, layer.padding, fused, name)
    if layer.kind == "C3":
        return C3(layer, fused, name)
    if layer.kind == "SPPF":
        return SPPF(layer, fused, name)
    if layer.kind == "Detect":
        return Detect(outputs_per_anchor(config), name)
    return Upsample(name=name) if layer.kind == "Upsample" else Concat(name=name)


def build(config: Mapping[str, Any]) -> YOLOv5:
    if config["layout"] == "channels-last":
        raise Unsupported("TensorFlow's convolutions on a CPU take NHWC only: its default is channels-last already")
    model = YOLOv5(config)
    side = config["imgsz"]
    model(keras.Input((3, side, side), batch_size=1))  # Keras creates the weights at the first call
    return model


def layout(config: Mapping[str, Any]) -> str:
    return "NHWC"


def remap(key: str, value: Any) -> tuple[str, Any]:
    """``model.2.m.0.cv1.conv.weight`` is ``model.2/m.0/cv1/conv/weight``; filters are [kh, kw, in, out] here."""
    path = ""
    for part in key.split("."):
        path += f".{part}" if part.isdigit() else f"/{part}"
    return path.removeprefix("/"), (value.transpose(2, 3, 1, 0) if value.ndim == 4 else value)


def inference(model: YOLOv5, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    heads = model(inputs["images"])
    named = {f"head.{number}": head for number, head in enumerate(heads)}
    return {**named, "predictions": model.model[DETECT].decode(heads)}


def training(model: YOLOv5, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    named = {f"head.{number}": head for number, head in enumerate(model(inputs["images"], training=True))}
    return {**named, "anchors": model.model[DETECT].anchors.value}
