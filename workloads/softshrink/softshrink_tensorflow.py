"""The seven layers in TensorFlow (Keras 3). Twins: softshrink_torch.py, softshrink_jax.py, softshrink_mlx.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from bench.errors import Unsupported

NO_KERNEL = (
    "TensorFlow compiles no kernel from source at run time: tf.load_op_library loads a C++ library that was built "
    "against its headers, and none for Metal"
)


def native(x: tf.Tensor, lambd: float) -> tf.Tensor:
    return keras.ops.soft_shrink(x, lambd)


def round_trip(x: tf.Tensor, lambd: float) -> tf.Tensor:
    """What soft placement does with an operator that the GPU lacks. XLA takes no notice of it."""
    with tf.device("/CPU:0"):
        return keras.ops.soft_shrink(x, lambd)


def composed(x: tf.Tensor, lambd: float) -> tf.Tensor:
    return x - tf.clip_by_value(x, -lambd, lambd)


WAYS: Mapping[str, Callable[[tf.Tensor, float], tf.Tensor]] = {
    "native": native,
    "round-trip": round_trip,
    "composed": composed,
}


class Model(keras.Model):
    """fc1, softshrink, ..., fc7, softshrink."""

    def __init__(self, width: int, way: str, lambd: float) -> None:
        super().__init__(name="softshrink")
        self.fc1 = layers.Dense(width, name="fc1")
        self.fc2 = layers.Dense(width, name="fc2")
        self.fc3 = layers.Dense(width, name="fc3")
        self.fc4 = layers.Dense(width, name="fc4")
        self.fc5 = layers.Dense(width, name="fc5")
        self.fc6 = layers.Dense(width, name="fc6")
        self.fc7 = layers.Dense(width, name="fc7")
        self.way, self.lambd = WAYS[way], lambd

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, width)
        for fc in (self.fc1, self.fc2, self.fc3, self.fc4, self.fc5, self.fc6, self.fc7):
            x = self.way(fc(x), self.lambd)
        return x


def build(config: Mapping[str, Any]) -> Model:
    if config["way"] not in WAYS:
        raise Unsupported(NO_KERNEL)
    model = Model(config["width"], config["way"], config["lambd"])
    model(keras.Input((config["width"],)))  # Keras creates the weights at the first call
    return model


def remap(key: str, value: Any) -> tuple[str, Any]:
    """``fc1.weight`` [out, in] is ``fc1/kernel`` [in, out] in Keras; biases keep their name."""
    layer, kind = key.split(".")
    return (f"{layer}/kernel", value.T) if kind == "weight" else (f"{layer}/{kind}", value)


def inference(model: Model, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"out": model(inputs["x"])}


def training(model: Model, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"out": model(inputs["x"], training=True)}


def loss(outputs: dict[str, tf.Tensor], inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Mean squared error over batch and features, in fp32: a million squares do not add up in half."""
    apart = tf.cast(outputs["out"], tf.float32) - tf.cast(inputs["target"], tf.float32)
    return tf.reduce_mean(tf.square(apart))
