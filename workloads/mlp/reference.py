"""The perceptron in NumPy: forward pass, softmax cross-entropy, its analytic gradient, SGD and Adam.

Written for float64, and exact in any dtype of its arguments, so that tests can run it in low precision too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.workload import Arrays

Array = np.ndarray[Any, Any]
STEPS = 5


def forward(weights: Arrays, x: Array) -> list[Array]:
    """Inputs (B, features), both hidden activations, logits (B, classes)."""
    h1 = np.maximum(x @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    h2 = np.maximum(h1 @ weights["fc2.weight"].T + weights["fc2.bias"], 0)
    return [x, h1, h2, h2 @ weights["fc3.weight"].T + weights["fc3.bias"]]


def cross_entropy(logits: Array, label: Array) -> tuple[Array, Array]:
    """Mean over the batch of -log softmax at the label, and its gradient by the logits (B, classes)."""
    rows = np.arange(len(label))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_softmax)
    gradient[rows, label] -= 1
    return -log_softmax[rows, label].mean(), gradient / len(label)


def loss_and_gradients(weights: Arrays, x: Array, label: Array) -> tuple[Array, Arrays]:
    """The loss () and its gradient by every weight, by hand-written backpropagation."""
    activations = forward(weights, x)
    loss, delta = cross_entropy(activations[-1], label)
    gradients: Arrays = {}
    for layer, before in zip(("fc3", "fc2", "fc1"), activations[2::-1], strict=True):
        gradients[f"{layer}.weight"] = delta.T @ before
        gradients[f"{layer}.bias"] = delta.sum(axis=0)
        delta = (delta @ weights[f"{layer}.weight"]) * (before > 0)
    return loss, {name: gradients[name] for name in weights}


def sgd(weights: Arrays, gradients: Arrays, state: dict[str, Arrays], options: Mapping[str, Any]) -> None:
    """v = momentum v + g; w -= lr v, in place: torch.optim.SGD without dampening, optax.sgd; Keras scales v by -lr."""
    velocity = state.setdefault("velocity", {name: np.zeros_like(value) for name, value in weights.items()})
    for name, gradient in gradients.items():
        velocity[name] = options["momentum"] * velocity[name] + gradient
        weights[name] = weights[name] - options["lr"] * velocity[name]


def adam(weights: Arrays, gradients: Arrays, state: dict[str, Arrays], options: Mapping[str, Any]) -> None:
    """Kingma and Ba 2015, algorithm 1, eps added to the corrected root, as torch.optim.Adam and optax.adam do.

    Keras adds it to the root before the correction ("epsilon hat" in section 2 of the paper), which is this formula
    with eps / sqrt(1 - beta2^t) in the place of eps.
    """
    mean = state.setdefault("mean", {name: np.zeros_like(value) for name, value in weights.items()})
    square = state.setdefault("square", {name: np.zeros_like(value) for name, value in weights.items()})
    count = state.setdefault("count", {"t": np.zeros((), np.int64)})
    count["t"] = count["t"] + 1
    beta1, beta2, t = options["beta1"], options["beta2"], int(count["t"])
    for name, gradient in gradients.items():
        mean[name] = beta1 * mean[name] + (1 - beta1) * gradient
        square[name] = beta2 * square[name] + (1 - beta2) * gradient**2
        root = np.sqrt(square[name] / (1 - beta2**t))
        weights[name] = weights[name] - options["lr"] * (mean[name] / (1 - beta1**t)) / (root + options["eps"])


def training(weights: Arrays, x: Array, label: Array, options: Mapping[str, Any]) -> Arrays:
    """``loss`` and ``grad.<name>`` at ``weights``, and ``losses`` (5,) before each of five optimizer steps."""
    loss, first = loss_and_gradients(weights, x, label)
    outputs = {"loss": np.asarray(loss), **{f"grad.{name}": value for name, value in first.items()}}
    update = {"sgd": sgd, "adam": adam}[str(options["name"])]
    current, state, losses = dict(weights), dict[str, Arrays](), []
    for _ in range(STEPS):
        loss, gradients = loss_and_gradients(current, x, label)
        losses.append(loss)
        update(current, gradients, state, options)
    return {**outputs, "losses": np.asarray(losses)}
