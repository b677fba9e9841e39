"""A three-layer perceptron with ReLU between the layers: the smallest workload that is still a real one.

What is computed, timed and tolerated, and where the data come from: ``README.md`` in this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError, UsageError
from bench.workload import Arrays, Config, Convergence, Size, Tolerance, Workload
from workloads.mlp import reference
from workloads.mlp.tolerance import tolerance

LAYERS = ("fc1", "fc2", "fc3")
DIGITS = Path(__file__).parent / "assets" / "digits.npz"
#: Share of the digits that is trained on, and how often each of them is seen, in a run to convergence.
TRAINING_SHARE = 0.8
EPOCHS = 30

#: Adam's eps is far above the textbook's 1e-8, which is zero in fp16; README.md, "Optimizers", says why this value.
OPTIMIZERS: Mapping[str, dict[str, float | str]] = {
    "sgd": {"name": "sgd", "lr": 0.02, "momentum": 0.9},
    "adam": {"name": "adam", "lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
}


def widths(config: Config) -> tuple[int, ...]:
    """Features, the two hidden widths, classes."""
    return (config["features"], config["hidden1"], config["hidden2"], config["classes"])


@cache
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The 1,797 handwritten digits: pixels (1797, 64) in [0, 1] as float32, labels (1797,) as int32."""
    with np.load(DIGITS, allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return (images.reshape(len(images), -1) / np.float32(16)).astype(np.float32), labels.astype(np.int32)


class MLP(Workload):
    """The spec; weights ``fcN.weight`` [out, in], ``fcN.bias`` [out]; inputs ``x`` (B, features), ``label`` (B,)."""

    name = "mlp"
    item = "samples"
    sizes: Mapping[str, Size] = {
        "tiny-test": Size({"features": 12, "hidden1": 16, "hidden2": 16, "classes": 5, "data": "synthetic"}, batch=4),
        "digits": Size({"features": 64, "hidden1": 128, "hidden2": 64, "classes": 10, "data": "digits"}, batch=64),
        "wide": Size(
            {"features": 784, "hidden1": 4096, "hidden2": 4096, "classes": 10, "data": "synthetic"},
            batch=256,
            reference="cpu-fp32",
        ),
    }
    phases: Mapping[str, tuple[str, ...]] = {"inference": ("default",), "training": ("sgd", "adam")}

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """``fcN.weight`` [out, in], then ``fcN.bias`` [out], layer by layer."""
        sides = widths(config)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, fan_in, fan_out in zip(LAYERS, sides, sides[1:], strict=False):
            shapes[f"{layer}.weight"] = (fan_out, fan_in)
            shapes[f"{layer}.bias"] = (fan_out,)
        return shapes

    def weights(self, config: Config, seed: int) -> Arrays:
        """Kaiming-uniform weights (He et al. 2015, gain sqrt 2): activations keep their scale through any depth.

        Biases are uniform in +-0.1, so that a forgotten one shows. Uniform draws only: the legacy normal draw goes
        through libm's log, which differs in the last bit between platforms.
        """
        stream = np.random.RandomState(seed)
        weights: Arrays = {}
        for name, shape in self.shapes(config).items():
            bound = np.sqrt(6.0 / shape[1]) if len(shape) == 2 else 0.1
            weights[name] = ((2.0 * stream.random_sample(shape) - 1.0) * bound).astype(np.float32)
        return weights

    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """``x`` in [0, 1], and ``label`` for training. The digits come in their own order, wrapped around."""
        if config["data"] == "digits":
            pixels, digit = digits()
            rows = np.arange(batch) % len(pixels)
            x, label = pixels[rows], digit[rows]
        else:
            stream = np.random.RandomState([seed, 1])
            x = stream.random_sample((batch, config["features"])).astype(np.float32)
            label = np.floor(stream.random_sample(batch) * config["classes"]).astype(np.int32)
        return {"x": x, "label": label} if phase == "training" else {"x": x}

    def check_inputs(self, config: Config, inputs: Arrays) -> None:
        """Every ``label`` is one of the classes.

        Raises:
            TensorError: one is not; frameworks would wrap it around, ignore it, or crash on a GPU.
        """
        label, classes = inputs.get("label"), config["classes"]
        if label is None:
            return
        wrong = label[(label < 0) | (label >= classes)]
        if wrong.size:
            raise TensorError(f"'label' holds {wrong[0]}, wanted 0 to {classes - 1} ({classes} classes)")

    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """The truth in float64: ``logits``, or ``loss``, ``grad.*`` and ``losses``."""
        exact = {name: value.astype(np.float64) for name, value in weights.items()}
        if phase == "inference":
            return {"logits": reference.forward(exact, inputs["x"].astype(np.float64))[-1]}
        return reference.training(exact, inputs["x"].astype(np.float64), inputs["label"], self.optimizer(variant))

    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Matrix products only. Training: forward, weight gradients, input gradients of all layers but the first."""
        sides = widths(config)
        products = [2.0 * batch * a * b for a, b in pairwise(sides)]
        return sum(products) if phase == "inference" else 3.0 * sum(products) - products[0]

    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """Limits and reasons stand in ``tolerance.py``; both phases share them, for their outputs differ by name."""
        return tolerance(max(widths(config)), precision, output)

    def optimizer(self, variant: str) -> dict[str, float | str]:
        """SGD with momentum, or Adam, at constant rates.

        Raises:
            UsageError: no such variant.
        """
        if variant not in OPTIMIZERS:
            raise UsageError(f"mlp trains with {' or '.join(OPTIMIZERS)}, not {variant!r}")
        return dict(OPTIMIZERS[variant])

    def convergence(self, config: Config, seed: int) -> Convergence | None:
        """30 epochs over four fifths of the real digits, in batches of 64; the other fifth is held out."""
        if config["data"] != "digits":
            return None
        pixels, digit = digits()
        batch = self.sizes["digits"].batch
        stream = np.random.RandomState([seed, 2])
        order = stream.permutation(len(pixels))
        train, held_out = np.split(order, [int(TRAINING_SHARE * len(order))])
        steps_per_epoch = len(train) // batch
        epochs = [stream.permutation(train)[: steps_per_epoch * batch] for _ in range(EPOCHS)]
        rows = np.concatenate(epochs).reshape(-1, batch)
        return Convergence(
            batches={"x": pixels[rows], "label": digit[rows]},
            held_out={"x": pixels[held_out], "label": digit[held_out]},
            labels="label",
            scores="logits",
            accuracy=0.96,
        )


workload = MLP()
