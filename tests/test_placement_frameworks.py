"""The audits in the frameworks themselves: each finds its saboteur, on a machine that has no GPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from bench import environments

SCRIPT = Path(__file__).with_name("placement_script.py")


def found_by(environment: str, interpreter: Path) -> dict[str, Any]:
    """What the script says, under the variables of a coverage pass."""
    entry = environments.get(environment)
    child = environments.child_environment({"PATH": "/usr/bin:/bin"}, entry, "cpu", 1)
    done = subprocess.run(
        [str(interpreter), str(SCRIPT), environment],
        env=child | environments.audit_variables(entry),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    made: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return made


def operators(audit: dict[str, Any]) -> dict[tuple[str, str], int | None]:
    return {(one["operator"], one["where"]): one["calls"] for one in audit["fallbacks"]}


def test_an_audit_finds_its_saboteur(environment: str, interpreter: Path) -> None:
    found = found_by(environment, interpreter)
    checks = {"torch": check_torch, "tensorflow": check_tensorflow, "jax": check_jax, "mlx": check_mlx}
    checks[environment](found)


def check_torch(found: dict[str, Any]) -> None:
    assert operators(found["quiet"]) == {}
    assert found["quiet"]["operators"] == 1
    assert found["quiet"]["note"] == "on the CPU: nothing to fall back from"
    assert operators(found["loud"]) == {("aten::_upsample_bilinear2d_aa.out", "cpu"): 1}
    assert operators(found["elsewhere"]) == {("aten::_to_copy", "meta"): 1, ("aten::softshrink", "meta"): 1}
    assert "ran on the CPU under the name of the GPU: aten::_upsample_bilinear2d_aa.out" in found["refused"]


def check_tensorflow(found: dict[str, Any]) -> None:
    assert operators(found["cpu"]) == {}
    assert found["cpu"]["operators"] >= 2
    assert found["cpu"]["strict_error"] is None
    assert "Could not satisfy device specification" in found["pinned"]["strict_error"]
    assert {("MatMul", "cpu"), ("Cumsum", "cpu")} <= set(operators(found["spoofed"]))


def check_jax(found: dict[str, Any]) -> None:
    assert operators(found["quiet"]) == {}
    assert found["quiet"]["operators"] == 1
    assert operators(found["calls"]) == {("pure_callback", "host"): 2}
    assert len(found["other"]) == 1


def check_mlx(found: dict[str, Any]) -> None:
    assert "an operator that lacks a kernel raises" in found["said"]
    assert found["raised"], "an operator for a GPU that is not there ran all the same"
