"""timm 1.0's ``Mlp`` as a twin: fc1, ReLU and fc2 are timm's; ReLU and the classifier after it are torch's.

timm has no YOLOv5 and no Whisper, and no perceptron of three layers: its ``Mlp``, of two, is the block of its vision
transformers and mixers, and the nearest that it has to any of our workloads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.layers import Mlp
from torch import Tensor, nn

#: Under these names in ``nn.Sequential``.
_PLACES = {"fc1": "0.fc1", "fc2": "0.fc2", "fc3": "2"}


def build(config: Mapping[str, Any]) -> nn.Sequential:
    trunk = Mlp(config["features"], config["hidden1"], config["hidden2"], act_layer=nn.ReLU)
    return nn.Sequential(trunk, nn.ReLU(), nn.Linear(config["hidden2"], config["classes"]))


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Layouts are PyTorch's own."""
    layer, _, last = key.partition(".")
    return f"{_PLACES[layer]}.{last}", value


def inference(model: nn.Sequential, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": model(inputs["x"])}
