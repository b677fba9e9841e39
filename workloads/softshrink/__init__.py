"""Seven Linear + Softshrink layers, with the activation computed in four ways: what a fallback to the CPU costs.

The example of Apple's talk on custom operators for PyTorch on Metal; what each way is, and what is timed: README.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.errors import UsageError
from bench.workload import Arrays, Config, Size, Tolerance, Workload
from workloads.softshrink import reference
from workloads.softshrink.tolerance import tolerance

LAYERS = tuple(f"fc{number}" for number in range(1, 8))
#: Half-width of the dead zone: torch's default, and exact in every dtype.
LAMBD = 0.5
#: How the activation is computed: the variants of both phases. README.md says what each is in each framework.
WAYS = ("native", "round-trip", "composed", "kernel")
#: Standard deviation of inputs and pre-activations: a fifth of them lies in the dead zone. At 1 it would be 38 %, and a
#: layer that is a little too quiet makes the next much too quiet: seven layers then end in silence.
SPREAD = 2.0
#: What softshrink keeps of a normal number's second moment at that spread, t = 0.5 / 2: 2 ((1 + t^2) Q(t) - t p(t)), p
#: the standard normal density, Q its upper tail. Weights of variance 1 / (KEPT fan_in) put back what it takes.
KEPT = 0.659
SGD: Mapping[str, float | str] = {"name": "sgd", "lr": 0.003, "momentum": 0.9}


class Softshrink(Workload):
    """The spec; weights ``fcN.weight`` [out, in], ``fcN.bias`` [out]; inputs ``x`` and ``target`` (B, width)."""

    name = "softshrink"
    item = "samples"
    sizes: Mapping[str, Size] = {
        "tiny-test": Size({"width": 64}, batch=32),
        # Products and activations about as dear: on a GPU a layer's product takes as long as its activation's traffic.
        "wide": Size({"width": 1024}, batch=256),
        # Many small rows: nearly all of it is the activation, as in the talk's example.
        "tall": Size({"width": 256}, batch=4096),
    }
    phases: Mapping[str, tuple[str, ...]] = {"inference": WAYS, "training": WAYS}
    #: Not in the main job: what a fallback costs is a question of its own, `run softshrink:wide --variant all`.
    main: Mapping[str, tuple[str, ...]] | None = {}

    def settings(self, size: str, phase: str, variant: str) -> Config:
        """The size's words and the ``way``."""
        return {**self.sizes[size].config, "way": variant, "lambd": LAMBD}

    def producer(self, size: str, phase: str) -> str:
        """Training at full size is a minute of float64 on two cores; fp32 on the CPU is made instead."""
        return "cpu-fp32" if phase == "training" and size != "tiny-test" else "numpy-fp64"

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        """``fcN.weight`` [out, in], then ``fcN.bias`` [out], layer by layer; all of them square."""
        width = config["width"]
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in LAYERS:
            shapes[f"{layer}.weight"] = (width, width)
            shapes[f"{layer}.bias"] = (width,)
        return shapes

    def weights(self, config: Config, seed: int) -> Arrays:
        """Uniform, scaled so that pre-activations keep their spread through all layers; biases in +-1, none 0."""
        stream = np.random.RandomState(seed)
        weights: Arrays = {}
        for name, shape in self.shapes(config).items():
            bound = np.sqrt(3.0 / (KEPT * shape[1])) if len(shape) == 2 else 1.0
            weights[name] = ((2.0 * stream.random_sample(shape) - 1.0) * bound).astype(np.float32)
        return weights

    def inputs(self, config: Config, phase: str, batch: int, seed: int) -> Arrays:
        """``x``, and for training ``target``: uniform, of standard deviation 2, seeded."""
        stream = np.random.RandomState([seed, 1])
        shape = (batch, config["width"])
        bound = SPREAD * np.sqrt(3.0)
        x, target = (((2.0 * stream.random_sample(shape) - 1.0) * bound).astype(np.float32) for _ in range(2))
        return {"x": x, "target": target} if phase == "training" else {"x": x}

    def reference(self, config: Config, phase: str, variant: str, weights: Arrays, inputs: Arrays) -> Arrays:
        """The truth in float64, the same for every way: ``out``, or ``loss``, ``grad.*`` and ``losses``."""
        exact = {name: value.astype(np.float64) for name, value in weights.items()}
        x = inputs["x"].astype(np.float64)
        if phase == "inference":
            return {"out": reference.forward(exact, x)[-1]}
        return reference.training(exact, x, inputs["target"].astype(np.float64), self.optimizer(variant))

    def flops(self, config: Config, phase: str, batch: int) -> float:
        """Matrix products only. Training: forward, weight gradients, input gradients of all layers but the first."""
        product = 2.0 * batch * config["width"] ** 2
        forward = len(LAYERS) * product
        return forward if phase == "inference" else 3.0 * forward - product

    def tolerance(self, config: Config, phase: str, precision: str, output: str) -> Tolerance:
        """Limits and reasons stand in ``tolerance.py``."""
        return tolerance(config["width"], precision, output)

    def optimizer(self, variant: str) -> dict[str, float | str]:
        """SGD with momentum, whatever the way.

        Raises:
            UsageError: no such way.
        """
        if variant not in WAYS and variant != "sgd":
            raise UsageError(f"softshrink is computed {', '.join(WAYS)}, not {variant!r}")
        return dict(SGD)


workload = Softshrink()
