"""The perceptron in TensorFlow (Keras 3). Twins: mlp_torch.py, mlp_jax.py, mlp_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers


class MLP(keras.Model):
    """fc1, ReLU, fc2, ReLU, fc3."""

    def __init__(self, hidden1: int, hidden2: int, classes: int) -> None:
        super().__init__(name="mlp")
        self.fc1 = layers.Dense(hidden1, name="fc1")
        self.fc2 = layers.Dense(hidden2, name="fc2")
        self.fc3 = layers.Dense(classes, name="fc3")

    def call(self, x: tf.Tensor) -> tf.Tensor:  # (B, features)
        x = tf.nn.relu(self.fc1(x))  # (B, hidden1)
        x = tf.nn.relu(self.fc2(x))  # (B, hidden2)
        return self.fc3(x)  # (B, classes)


def build(config: Mapping[str, Any]) -> MLP:
    model = MLP(config["hidden1"], config["hidden2"], config["classes"])
    model(keras.Input((config["features"],)))  # Keras creates the weights at the first call
    return model


def remap(key: str, value: Any) -> tuple[str, Any]:
    """``fc1.weight`` [out, in] is ``fc1/kernel`` [in, out] in Keras; biases keep their name."""
    layer, kind = key.split(".")
    return (f"{layer}/kernel", value.T) if kind == "weight" else (f"{layer}/{kind}", value)


def inference(model: MLP, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"logits": model(inputs["x"])}


def training(model: MLP, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"logits": model(inputs["x"], training=True)}


def loss(outputs: dict[str, tf.Tensor], inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """Softmax cross-entropy, mean over the batch; ``label`` (B,) holds class indices."""
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=inputs["label"], logits=outputs["logits"])
    return tf.reduce_mean(entropy)
