"""The perceptron in JAX: pure functions of a pytree. Twins: mlp_torch.py, mlp_tensorflow.py, mlp_mlx.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, dict[str, jax.Array]]


def linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ layer["weight"] + layer["bias"]


def forward(params: Params, x: jax.Array) -> jax.Array:  # (B, features)
    """fc1, ReLU, fc2, ReLU, fc3."""
    x = jax.nn.relu(linear(params["fc1"], x))  # (B, hidden1)
    x = jax.nn.relu(linear(params["fc2"], x))  # (B, hidden2)
    return linear(params["fc3"], x)  # (B, classes)


def build(config: Mapping[str, Any]) -> None:
    """No model object: the parameters are all there is."""


def remap(key: str, value: Any) -> tuple[str, Any]:
    """Weights are [in, out] here: ``x @ w`` reads along the batch."""
    return (key, value.T) if key.endswith(".weight") else (key, value)


def inference(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {"logits": forward(params, inputs["x"])}


def training(params: Params, inputs: dict[str, jax.Array], config: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {"logits": forward(params, inputs["x"])}


def loss(outputs: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> jax.Array:
    """Softmax cross-entropy, mean over the batch; ``label`` (B,) holds class indices."""
    log_softmax = jax.nn.log_softmax(outputs["logits"])  # (B, classes)
    picked = jnp.take_along_axis(log_softmax, inputs["label"][:, None], axis=1)
    return -picked.mean()
