"""The seven layers in NumPy: forward pass, mean squared error, its analytic gradient, SGD. For float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.workload import Arrays

Array = np.ndarray[Any, Any]
STEPS = 5
LAMBD = 0.5


def softshrink(x: Array) -> Array:
    """x - 0.5 above 0.5, x + 0.5 below -0.5, 0 between (Donoho 1995's soft threshold)."""
    return np.where(x > LAMBD, x - LAMBD, np.where(x < -LAMBD, x + LAMBD, 0.0))


def forward(weights: Arrays, x: Array) -> list[Array]:
    """Inputs (B, width), and (B, width) after each of the seven layers."""
    activations = [x]
    for number in range(1, 8):
        x = softshrink(x @ weights[f"fc{number}.weight"].T + weights[f"fc{number}.bias"])
        activations.append(x)
    return activations


def loss_and_gradients(weights: Arrays, x: Array, target: Array) -> tuple[Array, Arrays]:
    """Mean of (out - target)^2 over batch and features, and its gradient by every weight."""
    activations = forward(weights, x)
    apart = activations[-1] - target
    delta = 2.0 * apart / apart.size
    gradients: Arrays = {}
    for number in range(7, 0, -1):
        # Where the result is not zero, the derivative is one.
        delta = delta * (activations[number] != 0)
        gradients[f"fc{number}.weight"] = delta.T @ activations[number - 1]
        gradients[f"fc{number}.bias"] = delta.sum(axis=0)
        delta = delta @ weights[f"fc{number}.weight"]
    return np.mean(apart**2), {name: gradients[name] for name in weights}


def training(weights: Arrays, x: Array, target: Array, options: Mapping[str, Any]) -> Arrays:
    """``loss`` and ``grad.<name>`` at ``weights``, and ``losses`` (5,) before each of five steps of SGD.

    v = momentum v + g; w -= lr v.
    """
    loss, first = loss_and_gradients(weights, x, target)
    outputs = {"loss": np.asarray(loss), **{f"grad.{name}": value for name, value in first.items()}}
    current = dict(weights)
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    losses = []
    for _ in range(STEPS):
        loss, gradients = loss_and_gradients(current, x, target)
        losses.append(loss)
        for name, gradient in gradients.items():
            velocity[name] = options["momentum"] * velocity[name] + gradient
            current[name] = current[name] - options["lr"] * velocity[name]
    return {**outputs, "losses": np.asarray(losses)}
