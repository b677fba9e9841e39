"""MLX's adapter: nothing stays uncomputed, names are the wheel's, the Metal path asks in the right order.

No Mac was at hand: what is said of Metal is tried out with a stand-in (tests/mlx_script.py), on the real CPU wheel.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.environments import get, variables
from bench.errors import Unavailable
from bench.timing import SCALING_SHARE

ROOT = Path(__file__).resolve().parent.parent

#: Every test here needs this environment and no other.
pytestmark = pytest.mark.parametrize("environment", ["mlx"])


@functools.cache
def findings(interpreter: Path) -> dict[str, Any]:
    """What the script found, in one process."""
    own = {"PATH": os.environ["PATH"], **variables(get("mlx"), "cpu", 1)}
    command = [str(interpreter), "-m", "tests.mlx_script"]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def found(interpreter: Path) -> dict[str, Any]:
    """See ``findings``."""
    return findings(interpreter)


def test_every_name_is_in_the_wheel(environment: str, found: dict[str, Any]) -> None:
    """Also those of the Metal path; and a made-up name is seen."""
    assert len(found["names"]["files"]) == 6
    assert found["names"]["strangers"] == []
    assert "mx.metal.warp_drive" in found["names"]["saboteur"]
    assert "mx.fast.layer_norm" not in found["names"]["saboteur"]


def test_a_fence_that_evaluates_nothing_is_found(environment: str, found: dict[str, Any]) -> None:
    """MLX's barrier is one; synchronize alone, after a lazy step, is none."""
    assert found["fences"] == {"honest": "barrier", "forgotten": "host-read"}


def test_steps_that_are_never_evaluated_are_found(environment: str, found: dict[str, Any]) -> None:
    """All but the last would cost nothing: time does not grow with the work, and the label says implausible."""
    assert found["scaling"]["honest"] > 2 * SCALING_SHARE
    assert found["scaling"]["lazy"] < SCALING_SHARE


@pytest.mark.parametrize("work", ["mlp", "mlp training", "mlp training, compiled", "yolov5 training", "whisper"])
def test_a_step_hands_over_all_that_it_made(environment: str, found: dict[str, Any], work: str) -> None:
    """Outputs; in training the loss, every weight, running statistic and moment."""
    assert found["evaluated"][work] == []


@pytest.mark.parametrize("mode", ["scaled", "scaled, compiled"])
def test_a_step_with_infinite_gradients_is_skipped(environment: str, found: dict[str, Any], mode: str) -> None:
    """Nothing moves but the scale, which is halved; the next good step goes on; masters stay float32."""
    overflowing, good = found[mode]["overflowing"], found[mode]["good"]
    fp32 = ["mlx.core.float32"]
    assert overflowing == {"moved": False, "scale": 2048.0, "good": 0, "step": 0, "dtypes": fp32}
    assert good == {"moved": True, "scale": 2048.0, "good": 1, "step": 1, "dtypes": fp32}


def test_metal_is_opened_in_order(environment: str, found: dict[str, Any]) -> None:
    """Is it built, is there a GPU, choose it, keep within its memory, and only then allocate and compute."""
    assert found["devices"]["name"] == "Apple M9 (made up)"
    assert found["devices"]["calls"] == [
        "metal.is_available",
        "is_available(DeviceType.gpu)",
        "set_default_device(DeviceType.gpu)",
        "set_memory_limit(12000000000)",
        "array",
    ]
    assert variables(get("mlx"), "metal", 1)["MLX_ENABLE_TF32"] == "0"


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("linux", "not_darwin"),
        ("not built", "not_built"),
        ("no gpu", "no_device"),
        ("wrong", "wrong_result"),
        ("no memory", "out_of_memory"),
        ("broken", "no_device"),
        ("cuda", "not_built"),
        ("unknown", "no_device"),
    ],
)
def test_a_device_that_cannot_be_had_has_its_reason(
    environment: str, found: dict[str, Any], case: str, reason: str
) -> None:
    assert reason in Unavailable.REASONS
    assert found["devices"][case].startswith(f"{reason}: ")


def test_what_mlx_lacks_is_told_from_a_mistake(environment: str, found: dict[str, Any]) -> None:
    """In its own words; shapes that do not fit stay a failure."""
    assert "NYI" in found["unsupported"]["no kernel"]
    assert "Not implemented for SVD" in found["unsupported"]["no gradient"]
    assert found["unsupported"]["shapes"] is None


def test_values_reach_the_host(environment: str, found: dict[str, Any]) -> None:
    """NumPy takes no bfloat16 from MLX; the smallest output is read, a large one in part."""
    assert found["bfloat16"] == ["float32", [1.5, -2.0], "bfloat16"]
    assert found["host read"] == 7.0
    assert found["large host read"] == 5.0
