"""The older frameworks that Metal plugins need, on the CPU of this Linux machine: the same adapters, the same twins.

TensorFlow 2.19.1 (tensorflow-metal) and JAX 0.5.0 (jax-metal) differ from the releases that the other tests use in
NumPy, Keras and optax too. What runs here of a Mac's environment is all but its plugin.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from bench import environments, tensors
from bench.plan import IDIOM
from bench.run import conversation
from tests.conftest import interpreter_of
from tests.test_parity_models import Work, cell_of, shared_context, verified

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["twinbench"]

#: Training of YOLOv5 compiles for half a minute and has no adapter code of its own: by hand (docs/environments.md).
WORKS: tuple[tuple[Work, tuple[str, ...]], ...] = (
    (("mlp", "inference", "default"), ("fp32", "fp16", "bf16", "amp-fp16")),
    (("mlp", "training", "sgd"), ("fp32", "bf16", "amp-fp16")),
    (("mlp", "training", "adam"), ("fp32",)),
    (("yolov5", "inference", "default"), ("fp32",)),
    (("whisper", "inference", "default"), ("fp32",)),
    (("softshrink", "inference", "composed"), ("fp32",)),
    (("softshrink", "training", "round-trip"), ("fp32",)),
)
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.mark.older
@pytest.mark.frameworks
@pytest.mark.skipif(sys.platform != "linux", reason="nox makes the CPU sides of the older pins on Linux only")
@pytest.mark.parametrize("older", SETTINGS["older"])
def test_older_frameworks_give_the_same_answers(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inference and training through the stages of a run; the versions are the pinned ones."""
    monkeypatch.setenv("XLA_FLAGS", XLA_FLAGS)
    entry = environments.get(older)
    shared = shared_context({older: interpreter_of(older)}, seed=0)
    cells = [
        cell_of(older, work, precision, IDIOM[entry.framework])
        for work, precisions in WORKS
        for precision in precisions
    ]
    with conversation(older, "cpu", shared) as worker:
        found = {cell.label: verified(worker, cell, shared) for cell in cells}
        versions = worker.facts["versions"]
    assert found == dict.fromkeys(found, "right")
    pinned = {"tensorflow-metal": ("tensorflow-cpu", "2.19.1"), "jax-metal-cpu": ("jaxlib", "0.5.0")}
    distribution, version = pinned[older]
    assert versions[distribution] == version


@pytest.mark.older
@pytest.mark.frameworks
@pytest.mark.skipif(sys.platform != "linux", reason="nox makes the CPU sides of the older pins on Linux only")
def test_pallas_of_jax_0_5_refuses_in_its_own_words() -> None:
    """There the kernel's parameters have another name, and its lack was given as the reason."""
    older = "jax-metal-cpu"
    shared = shared_context({older: interpreter_of(older)}, seed=0)
    cell = cell_of(older, ("softshrink", "inference", "kernel"), "fp32", IDIOM["jax"])
    with conversation(older, "cpu", shared) as worker:
        found = verified(worker, cell, shared)
    assert "Only interpret mode is supported on CPU" in found


def test_arrays_are_kept_by_their_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.1's savez knows no ``allow_pickle``: it wrote an array of that name, and every reference had one more."""
    older = np.savez

    def savez_of_2_1(file: object, *arrays: object, **named: object) -> None:
        older(file, *arrays, **{name: np.asarray(value) for name, value in named.items()})  # type: ignore[arg-type]

    monkeypatch.setattr(np, "savez", savez_of_2_1)
    tensors.save(tmp_path / "a.npz", {"x": np.ones(3)})
    assert list(tensors.load(tmp_path / "a.npz")) == ["x"]
    with pytest.raises(ValueError, match="Python objects cannot be kept: y"):
        tensors.save(tmp_path / "b.npz", {"y": np.array([None])})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
