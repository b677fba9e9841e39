"""Drives one framework's adapter through every cell of a workload's size, and prints a JSON line per finding.

Runs in a framework's own interpreter, which has neither pytest nor this project installed:

    PYTHON -I -c "import runpy, sys; sys.path.insert(0, ROOT); runpy.run_path(PATH, run_name='__main__')" \
        FRAMEWORK SIZE [PRECISION ...]
    ... FRAMEWORK convergence [PRECISION ...]
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import numpy as np

from bench import precision, verify
from bench.errors import Unsupported
from bench.frameworks.base import Framework
from bench.workload import Workload, get

ADAPTERS = {"torch": "Torch", "tensorflow": "TensorFlow", "jax": "Jax"}
MODES = ("eager", "compiled", "xla")
SEED = 0
REFERENCES: dict[tuple[str, str, str], Any] = {}


def say(**facts: Any) -> None:
    print("FACT " + json.dumps(facts), flush=True)


def exact(workload: Workload, size: str, phase: str, variant: str) -> Any:
    """The float64 reference, made once per work."""
    key = (size, phase, variant)
    if key not in REFERENCES:
        config, batch = workload.sizes[size].config, workload.sizes[size].batch
        inputs = workload.inputs(config, phase, batch, SEED)
        REFERENCES[key] = workload.reference(config, phase, variant, workload.weights(config, SEED), inputs)
    return REFERENCES[key]


def program_of(
    framework: Framework, workload: Workload, size: str, phase: str, variant: str, word: str, mode: str
) -> Any:
    config, batch = workload.sizes[size].config, workload.sizes[size].batch
    optimizer = workload.optimizer(variant) if phase == "training" else None
    return framework.program(
        framework.load_twin(workload.name),
        config,
        phase,
        optimizer,
        word,
        mode,
        workload.weights(config, SEED),
        workload.inputs(config, phase, batch, SEED),
    )


def losses_of(framework: Framework, program: Any, steps: int = 6) -> list[float]:
    """The scalars that a burst of ``step`` gives, from the initial state."""
    program.reset()
    with program.measuring():
        return [framework.host_read(program.step()) for _ in range(steps)]


def cell(
    framework: Framework, workload: Workload, size: str, phase: str, variant: str, word: str, mode: str
) -> dict[str, Any]:
    """Errors against the reference, dtype, and whether two bursts from ``reset`` are the same bits."""
    start = time.perf_counter()
    try:
        program = program_of(framework, workload, size, phase, variant, word, mode)
        inputs = workload.inputs(workload.sizes[size].config, phase, workload.sizes[size].batch, SEED)
        outputs = program.verify(inputs)
        first, second = losses_of(framework, program), losses_of(framework, program)
        again = program.verify(inputs)
    except Unsupported as reason:
        return {"outcome": "unsupported", "detail": str(reason)}
    except Exception as error:  # the finding, in the framework's words
        said = framework.unsupported(error)
        kind = "unsupported" if said else "failed"
        return {"outcome": kind, "detail": said or f"{type(error).__name__}: {error}"[:600]}
    truth = verify.remap_reference(exact(workload, size, phase, variant), framework.load_twin(workload.name).remap)
    judged = verify.compare(outputs, truth, lambda output: workload.tolerance(phase, word, output))
    return {
        "outcome": "right" if judged.ok else "wrong",
        "detail": judged.detail,
        "errors": judged.errors,
        "dtype": program.output_dtype(),
        "reset": np.array_equal(first, second, equal_nan=True)
        and all(np.array_equal(outputs[name], again[name], equal_nan=True) for name in outputs),
        "losses": first if phase == "training" else None,
        "finite": bool(np.isfinite(first).all()),
        "s": round(time.perf_counter() - start, 2),
    }


def converge(framework: Framework, workload: Workload, variant: str, word: str, mode: str) -> dict[str, Any]:
    """A real training run on the digits."""
    data = workload.convergence(workload.sizes["digits"].config, SEED)
    assert data is not None
    program = program_of(framework, workload, "digits", "training", variant, word, mode)
    losses = []
    with program.measuring():
        for index in range(len(data.batches[data.labels])):
            program.feed({name: stack[index] for name, stack in data.batches.items()})
            losses.append(framework.host_read(program.step()))
    scores = program.evaluate(data.held_out)[data.scores]
    accuracy = float((scores.argmax(axis=1) == data.held_out[data.labels]).mean())
    return {"accuracy": accuracy, "wanted": data.accuracy, "losses": losses}


def main(name: str, what: str, words: list[str]) -> None:
    workload = get("mlp")
    framework: Framework = getattr(importlib.import_module(f"bench.frameworks.{name}"), ADAPTERS[name])()
    say(device=framework.open("cpu", 2))
    for word in words or list(precision.EXPECTED):
        if what == "convergence":
            for variant in workload.phases["training"]:
                mode = "eager" if name == "torch" else "compiled"
                say(
                    framework=name,
                    convergence=variant,
                    precision=word,
                    **converge(framework, workload, variant, word, mode),
                )
            continue
        say(framework=name, precision=word, measured=precision.measure(framework, word))
        for phase, variants in workload.phases.items():
            for variant in variants:
                for mode in MODES:
                    facts = cell(framework, workload, what, phase, variant, word, mode)
                    say(framework=name, size=what, phase=phase, variant=variant, precision=word, mode=mode, **facts)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
