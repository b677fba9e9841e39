"""Our perceptron against timm's ``Mlp`` under a classifier, in the environment peer-timm: same weights, same logits.

    python -m benchmarks.peers.timm_torch.parity

Prints a table; the exit code is 1 when a row fails. The row that begins with "sees" has slightly wrong weights and must
differ.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Iterator

import numpy as np

from bench.frameworks.base import Framework, Job
from bench.worker import framework_for
from bench.workload import Arrays
from benchmarks.peers.whisper.parity import Row, distance, tell
from workloads.mlp import workload

LIMIT = 1e-5


def logits(framework: Framework, package: str, size: str, weights: Arrays, inputs: Arrays) -> Arrays:
    """What the adapter would hand to the harness' own verification."""
    config = workload.settings(size, "inference", "default")
    job = Job(framework.load_twin("mlp", package), config, "inference", None, "fp32", "eager", weights, inputs)
    return framework.program(job).verify(inputs)


def rows(framework: Framework) -> Iterator[Row]:
    """Every size with two seeds, and weights that are a thousandth too large."""
    for size in workload.sizes:
        config = workload.settings(size, "inference", "default")
        for seed in (0, 1):
            weights = workload.weights(config, seed)
            inputs = workload.inputs(config, "inference", 16, seed)
            theirs = logits(framework, "benchmarks.peers.timm_torch", size, weights, inputs)["logits"]
            ours = logits(framework, "workloads", size, weights, inputs)["logits"]
            yield Row(f"{size}, seed {seed}", "logits", distance(ours, theirs), LIMIT)
        scaled = {name: value * np.float32(1.001) for name, value in weights.items()}
        wrong = logits(framework, "workloads", size, scaled, inputs)["logits"]
        yield Row(size, "sees weights x 1.001 in logits", distance(wrong, theirs), LIMIT, True)


def main() -> int:
    """Print the table row by row."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    framework = framework_for("torch", "torch")
    framework.open("cpu", 2)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("timm", "torch", "numpy"))
    return tell(f"Our perceptron against timm's Mlp: {versions}", rows(framework))


if __name__ == "__main__":
    sys.exit(main())
