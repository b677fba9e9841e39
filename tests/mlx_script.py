"""Run in MLX's interpreter: what its adapter promises, tried out; one JSON object on standard output.

    python -m tests.mlx_script

Checks of the Metal path put a stand-in before ``mlx.core`` that says there is a GPU and notes what is asked of it; all
else goes to the real wheel, so that a name that it does not have is an AttributeError here.
"""

from __future__ import annotations

import ast
import importlib
import json
import platform
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from bench import timing, workload
from bench.errors import Unavailable
from bench.frameworks import mlx as adapter
from bench.frameworks.base import Job

#: Where MLX is used, and what its modules are called there.
SOURCES = ("bench/frameworks/mlx.py", "workloads/*/*_mlx.py")
MODULES = {"mx": "mlx.core", "nn": "mlx.nn", "optim": "mlx.optimizers"}
CHAIN_NS = 20_000_000
Findings = dict[str, Any]


# --- names -----------------------------------------------------------------------------------------------------------


def chain_of(node: ast.Attribute) -> list[str]:
    """``mx.fast.layer_norm`` -> ["mx", "fast", "layer_norm"]; empty where it does not begin with a plain name."""
    names: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    return [inner.id, *reversed(names)] if isinstance(inner, ast.Name) else []


def strangers(source: str) -> list[str]:
    """Names of MLX that ``source`` uses and the wheel has not."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        names = chain_of(node) if isinstance(node, ast.Attribute) else []
        if not names or names[0] not in MODULES:
            continue
        found: Any = importlib.import_module(MODULES[names[0]])
        for name in names[1:]:
            if not hasattr(found, name):
                missing.append(".".join(names))
                break
            found = getattr(found, name)
    return sorted(set(missing))


def names() -> Findings:
    files = sorted(path for pattern in SOURCES for path in Path().glob(pattern))
    made_up = "import mlx.core as mx\nmx.fast.layer_norm(1)\nmx.metal.warp_drive()\nmx.metal.warp_drive.on"
    return {
        "files": [str(file) for file in files],
        "strangers": [name for file in files for name in strangers(file.read_text(encoding="utf-8"))],
        "saboteur": strangers(made_up),
    }


# --- laziness --------------------------------------------------------------------------------------------------------


def product(framework: adapter.Mlx) -> Callable[[], Any]:
    operand = np.random.RandomState(0).random_sample((512, 512)).astype(np.float32)
    return framework.matmul(operand, operand, "fp32")


def no_dispatch() -> Any:
    """The saboteur: steps that hand nothing over."""
    return mock.patch.object(mx, "async_eval")


def fences(framework: adapter.Mlx) -> Findings:
    """The kind of fence that the self-test finds: MLX's own, and one that forgets to evaluate a lazy step's output.

    By CPU time, here and below: MLX computes on this machine's processor, which others may keep busy.
    """
    step, clock = product(framework), framework.cpu_clock

    def forgetful(out: Any) -> None:
        mx.synchronize()

    honest = timing.check_fence(step, framework.barrier, framework.host_read, clock, CHAIN_NS)
    with no_dispatch():
        forgotten = timing.check_fence(step, forgetful, framework.host_read, clock, CHAIN_NS)
    return {"honest": honest.kind, "forgotten": forgotten.kind}


def scaling(framework: adapter.Mlx) -> Findings:
    """Share of the added work that took its time, with steps handed over and not."""
    step, clock = product(framework), framework.cpu_clock

    def run(iterations: int) -> timing.Burst:
        return timing.burst(step, framework.barrier, iterations, clock)

    honest = timing.check_scaling(run, 6, 30e6)
    with no_dispatch():
        lazy = timing.check_scaling(run, 6, 30e6)
    return {name: timing.added_share(*astuple(found)) for name, found in (("honest", honest), ("lazy", lazy))}


def program_of(framework: adapter.Mlx, name: str, phase: str, variant: str, precision: str, mode: str) -> Any:
    spec = workload.get(name)
    config = spec.settings("tiny-test", phase, variant)
    weights = spec.prepared(config, phase, spec.weights(config, 0))
    optimizer = spec.optimizer(variant) if phase == "training" else None
    inputs = spec.inputs(config, phase, 2, 0)
    return framework.program(Job(framework.load_twin(name), config, phase, optimizer, precision, mode, weights, inputs))


def left_out(framework: adapter.Mlx, name: str, phase: str, variant: str, mode: str = "eager") -> list[str]:
    """Outputs, and in training all of the state, that one step has not handed over for evaluation; then the fence."""
    program = program_of(framework, name, phase, variant, "fp32", mode)
    handed: set[int] = set()
    kept: list[Any] = []

    def note(*trees: Any) -> None:
        kept.append(trees)  # alive, so that no id is used twice
        handed.update(id(leaf) for _, leaf in tree_flatten(trees))

    with mock.patch.object(mx, "async_eval", note):
        out = program.step()
    wanted = {"out": out}
    if phase == "training":
        wanted |= {"weights": program._model.parameters(), "moments": program._optimizer.state}
    framework.barrier(out)
    return [path for path, leaf in tree_flatten(wanted) if isinstance(leaf, mx.array) and id(leaf) not in handed]


def evaluated(framework: adapter.Mlx) -> Findings:
    works = {
        "mlp": ("mlp", "inference", "default"),
        "mlp training": ("mlp", "training", "adam"),
        "mlp training, compiled": ("mlp", "training", "sgd", "compiled"),
        "yolov5 training": ("yolov5", "training", "sgd"),
        "whisper": ("whisper", "inference", "tokens-3"),
    }
    return {name: left_out(framework, *work) for name, work in works.items()}


# --- loss scaling ----------------------------------------------------------------------------------------------------


def scaled(framework: adapter.Mlx, mode: str) -> Findings:
    """What a step whose gradients overflow, and one whose do not, change."""
    program = program_of(framework, "mlp", "training", "adam", "amp-fp16", mode)
    spec = workload.get("mlp")
    config = spec.settings("tiny-test", "training", "adam")
    good = spec.inputs(config, "training", 2, 0)
    before = {name: np.array(value) for name, value in tree_flatten(program._model.parameters())}

    def after(inputs: Any) -> Findings:
        program.feed(inputs)
        framework.barrier(program.step())
        now = dict(tree_flatten(program._model.parameters()))
        return {
            "moved": any(not np.array_equal(np.array(now[name]), value) for name, value in before.items()),
            "scale": program._scale["scale"].item(),
            "good": program._scale["good"].item(),
            "step": program._optimizer.state["step"].item(),
            "dtypes": sorted({str(value.dtype) for value in now.values()}),
        }

    overflowing = after({**good, "x": np.full_like(good["x"], 6e4)})
    return {"overflowing": overflowing, "good": after(good)}


# --- devices ---------------------------------------------------------------------------------------------------------


class WithGpu:
    """``mlx.core`` on a Mac: there is a GPU, which computes on this machine's CPU, and what is asked is noted."""

    def __init__(self, works: bool = True, factor: float = 1.0, fault: str = "") -> None:
        self.calls: list[str] = []
        self._works, self._factor, self._fault = works, factor, fault
        self.metal = mock.Mock(spec=mx.metal)
        self.metal.is_available = lambda: self._note("metal.is_available", True)

    def _note(self, call: str, answer: Any) -> Any:
        self.calls.append(call)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    def is_available(self, device: Any) -> bool:
        return bool(self._note(f"is_available({device})", self._works))

    def set_default_device(self, device: Any) -> None:
        self._note(f"set_default_device({device})", None)

    def set_memory_limit(self, limit: int) -> None:
        self._note(f"set_memory_limit({limit})", None)

    def device_info(self) -> dict[str, Any]:
        return {"device_name": "Apple M9 (made up)", "max_recommended_working_set_size": 12_000_000_000}

    def array(self, host: Any) -> Any:
        self._note("array", None)
        if self._fault:
            raise RuntimeError(self._fault)
        return mx.array(host * np.float32(self._factor))


def opened(fake: Any, device: str = "metal", system: str = "Darwin") -> str:
    """The device's name, or the reason word and the message."""
    with mock.patch.object(adapter, "mx", fake), mock.patch.object(platform, "system", return_value=system):
        try:
            return adapter.Mlx().open(device, 1)
        except Unavailable as refused:
            return str(refused)


def devices() -> Findings:
    fake = WithGpu()
    name = opened(fake)
    exhausted = "[METAL] Command buffer execution failed: Insufficient Memory (00000008)"
    return {
        "name": name,
        "calls": fake.calls,
        "linux": opened(mx, system="Linux"),
        "not built": opened(mx),
        "no gpu": opened(WithGpu(works=False)),
        "wrong": opened(WithGpu(factor=1.5)),
        "no memory": opened(WithGpu(fault=exhausted)),
        "broken": opened(WithGpu(fault="[metal::Device] Unable to load kernel")),
        "cuda": opened(mx, "cuda", "Linux"),
        "unknown": opened(mx, "tpu"),
    }


def unsupported(framework: adapter.Mlx) -> Findings:
    """What MLX itself raises where it lacks something, and what must stay a failure."""

    def said(call: Callable[[], Any]) -> str | None:
        try:
            call()
        except Exception as error:
            return framework.unsupported(error)
        return "nothing was raised"

    square = mx.ones((32, 32))
    return {
        "no kernel": said(lambda: mx.eval(mx.qqmm(square, square))),
        "no gradient": said(lambda: mx.eval(mx.grad(lambda x: mx.linalg.svd(x, stream=mx.cpu)[1].sum())(square))),
        "shapes": said(lambda: square @ mx.ones((3, 3))),
    }


def main() -> None:
    framework = adapter.Mlx()
    framework.open("cpu", 1)
    half = mx.array([1.5, -2.0]).astype(mx.bfloat16)
    found = {
        "names": names(),
        "fences": fences(framework),
        "scaling": scaling(framework),
        "evaluated": evaluated(framework),
        "scaled": scaled(framework, "eager"),
        "scaled, compiled": scaled(framework, "compiled"),
        "devices": devices(),
        "unsupported": unsupported(framework),
        "bfloat16": [
            str(framework.to_numpy(half).dtype),
            framework.to_numpy(half).tolist(),
            framework.dtype_name(half),
        ],
        "host read": framework.host_read({"a": mx.ones((300, 300)), "b": [mx.array([[7.0]])]}),
        "large host read": framework.host_read(mx.full((300, 300), 5.0)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
