"""The seven layers in PyTorch. Twins: softshrink_tensorflow.py, softshrink_jax.py, softshrink_mlx.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.softshrink import kernels_torch

Activation = Callable[[Tensor], Tensor]


def native(x: Tensor, lambd: float) -> Tensor:
    return F.softshrink(x, lambd)


def round_trip(x: Tensor, lambd: float) -> Tensor:
    """What a fallback does: to the host, the operator there, and back. On the CPU the copies remain."""
    return F.softshrink(x.to("cpu", copy=True), lambd).to(x.device, copy=True)


def composed(x: Tensor, lambd: float) -> Tensor:
    return x - x.clamp(-lambd, lambd)


class Softshrink(nn.Module):
    """The activation, computed in one of four ways; ``kernel`` waits for ``build_kernels``."""

    def __init__(self, way: str, lambd: float) -> None:
        super().__init__()
        self.lambd = lambd
        self.way: Callable[[Tensor, float], Tensor] | None = {
            "native": native, "round-trip": round_trip, "composed": composed, "kernel": None,
        }[way]  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:  # (B, width)
        assert self.way is not None, "build_kernels comes first"
        return self.way(x, self.lambd)


class Model(nn.Module):
    """fc1, softshrink, ..., fc7, softshrink."""

    def __init__(self, width: int, way: str, lambd: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, width)
        self.fc5 = nn.Linear(width, width)
        self.fc6 = nn.Linear(width, width)
        self.fc7 = nn.Linear(width, width)
        self.shrink = Softshrink(way, lambd)

    def forward(self, x: Tensor) -> Tensor:  # (B, width)
        for fc in (self.fc1, self.fc2, self.fc3, self.fc4, self.fc5, self.fc6, self.fc7):
            x = self.shrink(fc(x))
        return x


def build(config: Mapping[str, Any]) -> Model:
    return Model(config["width"], config["way"], config["lambd"])


def build_kernels(model: Model, device: torch.device) -> bool:
    """The kernels of the way ``kernel``, for the device on which the model lies."""
    if model.shrink.way is not None:
        return False
    model.shrink.way = kernels_torch.build(device)
    return True


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Canonical names and layouts are PyTorch's own."""
    return key, value


def inference(model: Model, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"out": model(inputs["x"])}


def training(model: Model, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"out": model(inputs["x"])}


def loss(outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Mean squared error over batch and features, in fp32: a million squares do not add up in half."""
    return F.mse_loss(outputs["out"].float(), inputs["target"].float())
