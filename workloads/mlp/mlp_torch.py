"""The perceptron in PyTorch. Twins: mlp_tensorflow.py, mlp_jax.py, mlp_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """fc1, ReLU, fc2, ReLU, fc3."""

    def __init__(self, features: int, hidden1: int, hidden2: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden1)
        self.fc2 = nn.Linear(hidden1, hidden2)
        self.fc3 = nn.Linear(hidden2, classes)

    def forward(self, x: Tensor) -> Tensor:  # (B, features)
        x = torch.relu(self.fc1(x))  # (B, hidden1)
        x = torch.relu(self.fc2(x))  # (B, hidden2)
        return self.fc3(x)  # (B, classes)


def build(config: Mapping[str, Any]) -> MLP:
    return MLP(config["features"], config["hidden1"], config["hidden2"], config["classes"])


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Canonical names and layouts are PyTorch's own."""
    return key, value


def inference(model: MLP, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": model(inputs["x"])}


def training(model: MLP, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": model(inputs["x"])}


def loss(outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Softmax cross-entropy, mean over the batch; ``label`` (B,) holds class indices."""
    return F.cross_entropy(outputs["logits"], inputs["label"])
