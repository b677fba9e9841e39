"""TF32 is on for ``tf32`` and off for all else, in whatever process; and how kernels are compiled and called.

No GPU is needed for either: the first is the state of switches, the second runs on scripted compilers.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import environments

SCRIPT = Path(__file__).with_name("switches_script.py")


def found_by(environment: str, interpreter: Path) -> dict[str, Any]:
    """What the script says."""
    child = environments.child_environment({"PATH": "/usr/bin:/bin"}, environments.get(environment), "cpu", 1)
    command = [str(interpreter), str(SCRIPT), environment]
    done = subprocess.run(command, env=child, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    made: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return made


@pytest.mark.parametrize("environment", ["torch", "tensorflow", "jax"])  # MLX has a variable: test_environments.py
def test_the_switches_of_tf32_and_the_compilers_of_kernels(environment: str, interpreter: Path) -> None:
    found = found_by(environment, interpreter)
    {"torch": check_torch, "tensorflow": check_tensorflow, "jax": check_jax}[environment](found)


def check_torch(found: dict[str, Any]) -> None:
    off, on = ["highest", False], ["high", True]
    switches = found["switches"]
    assert switches["opened"] == off
    for cell, after in (("fp32", off), ("tf32", on)):
        assert switches[f"fp32 in {cell}"] == switches[f"bf16 in {cell}"] == off
        assert switches[f"tf32 in {cell}"] == on
        assert switches[f"after in {cell}"] == after, "a product leaves the process as it was"
    made = found["kernels"]
    assert made["errors"] == {"cuda": [0.0, 0.0], "mps": [0.0, 0.0]}
    tensors = ["Tensor", "Tensor"]
    assert made["calls"] == [
        ["shrink_f32", [3, 1, 1], [256, 1, 1], [*tensors, "int", "float"]],
        ["backward_f32", [3, 1, 1], [256, 1, 1], [*tensors, "Tensor", "int"]],
        ["shrink_bf16", [3, 1, 1], [256, 1, 1], [*tensors, "int", "float"]],
        ["shrink_f32", [*tensors, "float"]],
        ["backward_f32", [*tensors, "Tensor"]],
        ["shrink_bf16", [*tensors, "float"]],
    ]
    assert made["refused"].startswith("no kernel of our own on meta")


def check_tensorflow(found: dict[str, Any]) -> None:
    assert found["switches"] == {
        "opened": False,
        "fp32 in fp32": [False],
        "tf32 in fp32": [True, False, False],
        "fp32 in tf32": [False, True, True],
        "tf32 in tf32": [True],
    }


def check_jax(found: dict[str, Any]) -> None:
    switches = found["switches"]
    assert switches["opened"] == "highest"
    for cell in ("fp32", "tf32"):
        assert switches[f"fp32 in {cell}"] == [["HIGHEST", "HIGHEST"]]
        assert switches[f"tf32 in {cell}"] == [["HIGH", "HIGH"]]
