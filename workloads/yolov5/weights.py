"""Seeded weights of YOLOv5, and BatchNorm folded into the convolutions: the one implementation that every twin loads.

How the weights are scaled, and why: README.md, "Weights".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Arrays, Config
from workloads.yolov5.config import ANCHORS, DETECT, EPSILON, STRIDES, Convolution, convolutions, outputs_per_anchor

Array = np.ndarray[Any, Any]
#: Draws of a filter are multiples of this, so that their mean is exact in float64 in any order of summation.
_GRID = 2.0**-16
#: BatchNorm's gamma and beta are small, so that SiLU is nearly straight where it is used: the stronger it bends, the
#: more a network of random filters magnifies every rounding (README.md, "Weights").
_GAMMA, _OFFSET = (0.25, 0.45), 0.3
#: Variance of silu(gamma z + beta) over the cells, z of N(0, 1): what a filter that sums to zero sees of its inputs.
_SILU_VARIANCE = 0.032
#: Variance of a convolution's output that neither grows nor fades through 140 layers (found by trying 0.5 to 0.9).
_VARIANCE = 0.6
#: The same for the first layer: neighbouring pixels are alike, and a filter that sums to zero sees little of them.
_STEM_VARIANCE = 10.0
#: The same for Detect: logits of a standard deviation near 1.
_HEAD_VARIANCE = 3.0


def uniform(stream: np.random.RandomState, shape: tuple[int, ...], low: float, high: float) -> Array:
    """float32 in [low, high): uniform draws only, for NumPy's normal draw goes through libm, which differs."""
    return (low + (high - low) * stream.random_sample(shape)).astype(np.float32)


def filters(stream: np.random.RandomState, conv: Convolution, variance: float) -> Array:
    """(O, C, k, k) float32: outputs have about ``variance``, and a filter sums to zero over each group of inputs."""
    parts = (conv.outputs, conv.groups, conv.inputs // conv.groups * conv.kernel**2)
    draws = np.floor(stream.random_sample(parts) / _GRID) * _GRID  # [0, 1), of variance 1/12
    draws -= draws.mean(axis=2, keepdims=True)
    fan_in = conv.inputs * conv.kernel**2
    scale = np.sqrt(12.0 * variance / (fan_in * conv.terms * _SILU_VARIANCE))
    return (draws * scale).astype(np.float32).reshape(conv.outputs, conv.inputs, conv.kernel, conv.kernel)


def seeded(config: Config, seed: int) -> Arrays:
    """All of ``config.shapes``: filters, BatchNorm with four vectors that all matter, Detect, upstream's anchors."""
    stream = np.random.RandomState(seed)
    weights: Arrays = {}
    for conv in convolutions(config):
        if not conv.normalised:
            weights[f"{conv.key}.weight"] = filters(stream, conv, _HEAD_VARIANCE)
            weights[f"{conv.key}.bias"] = head_bias(stream, config)
            continue
        side = (conv.outputs,)
        variance = _STEM_VARIANCE if conv.key == "model.0" else _VARIANCE
        weights[f"{conv.key}.conv.weight"] = filters(stream, conv, variance)
        weights[f"{conv.key}.bn.weight"] = uniform(stream, side, *_GAMMA)
        weights[f"{conv.key}.bn.bias"] = uniform(stream, side, -_OFFSET, _OFFSET)
        weights[f"{conv.key}.bn.running_mean"] = uniform(stream, side, -_OFFSET, _OFFSET)
        weights[f"{conv.key}.bn.running_var"] = uniform(stream, side, 0.5, 1.5)
    cells = np.asarray(ANCHORS, np.float32) / np.asarray(STRIDES, np.float32)[:, None, None]
    weights[f"model.{DETECT}.anchors"] = cells
    return weights


def head_bias(stream: np.random.RandomState, config: Config) -> Array:
    """(3 (5 + classes),): boxes near their anchors, objects rare, classes rarer; nothing exactly zero."""
    bias = uniform(stream, (len(ANCHORS[0]), outputs_per_anchor(config)), -0.2, 0.2)
    bias[:, 4] -= 4.6
    bias[:, 5:] -= 1.0
    return bias.reshape(-1)


def fold(config: Config, weights: Arrays) -> Arrays:
    """``conv.weight`` and ``conv.bias`` in the place of each convolution and its BatchNorm; in float64, then float32.

    gamma (conv(x) - mean) / sqrt(var + eps) + beta = conv'(x) + bias' with conv' = gamma / sqrt(var + eps) conv.
    """
    folded: Arrays = {}
    for conv in convolutions(config):
        if not conv.normalised:
            folded |= {f"{conv.key}.{name}": weights[f"{conv.key}.{name}"] for name in ("weight", "bias")}
            continue
        gamma, beta, mean, variance = (
            weights[f"{conv.key}.bn.{name}"].astype(np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = weights[f"{conv.key}.conv.weight"] * scale[:, None, None, None]
        folded[f"{conv.key}.conv.weight"] = kernel.astype(np.float32)
        folded[f"{conv.key}.conv.bias"] = (beta - mean * scale).astype(np.float32)
    folded[f"model.{DETECT}.anchors"] = weights[f"model.{DETECT}.anchors"]
    return folded
