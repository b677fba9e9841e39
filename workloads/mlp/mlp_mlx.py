"""The perceptron in MLX. Twins: mlp_torch.py, mlp_tensorflow.py, mlp_jax.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn


class MLP(nn.Module):
    """fc1, ReLU, fc2, ReLU, fc3."""

    def __init__(self, features: int, hidden1: int, hidden2: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden1)
        self.fc2 = nn.Linear(hidden1, hidden2)
        self.fc3 = nn.Linear(hidden2, classes)

    def __call__(self, x: mx.array) -> mx.array:  # (B, features)
        x = nn.relu(self.fc1(x))  # (B, hidden1)
        x = nn.relu(self.fc2(x))  # (B, hidden2)
        return self.fc3(x)  # (B, classes)


def build(config: Mapping[str, Any]) -> MLP:
    return MLP(config["features"], config["hidden1"], config["hidden2"], config["classes"])


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Linear layers hold [out, in], as the canonical weights do."""
    return key, value


def inference(model: MLP, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    return {"logits": model(inputs["x"])}


def training(model: MLP, inputs: dict[str, mx.array]) -> dict[str, mx.array]:
    return {"logits": model(inputs["x"])}


def loss(outputs: dict[str, mx.array], inputs: dict[str, mx.array]) -> mx.array:
    """Softmax cross-entropy, mean over the batch; ``label`` (B,) holds class indices."""
    return nn.losses.cross_entropy(outputs["logits"], inputs["label"], reduction="mean")
