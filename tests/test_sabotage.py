"""Real frameworks with a planted fault, by the command line: the harness finds it, and other cells are unharmed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import labels
from bench.record import Failed, Measured, Record
from benchmarks import patched, planted, sabotage
from tests.harness import only_run, records_of


def run_with(python: Path, environment: str, tmp_path: Path, *more: str) -> tuple[int, list[Record]]:
    """Exit code and records of the small perceptron's run with this interpreter."""
    cells = ["mlp:tiny-test", "--phase", "inference", "--device", "cpu", "--precision", "fp32"]
    size = ["--processes", "1", "--bursts", "4", "--threads", "1", "--results", str(tmp_path / "results")]
    chosen = ["--environment", environment, "--python", f"{environment}={python}"]
    command = [sys.executable, "-m", "bench", "run", *cells, *size, *chosen, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return done.returncode, records_of(only_run(tmp_path / "results"))


@pytest.mark.parametrize("environment", ["jax", "mlx"])
def test_a_barrier_that_does_not_wait_is_found(environment: str, interpreter: Path, tmp_path: Path) -> None:
    """On a CPU these two compute after they have returned; on a GPU all do (results/reference/README.md)."""
    made = patched.interpreter(interpreter, tmp_path / "made", "bench.worker", sabotage.FAULTS["barrier"], "numpy")
    code, records = run_with(made, environment, tmp_path)
    (broken,) = records
    assert code == 0
    assert isinstance(broken.outcome, Measured)
    assert broken.measurement is not None
    assert labels.FENCE_HOST_READ in labels.labels_of(broken.measurement)


@pytest.mark.parametrize("environment", ["torch"])
def test_an_error_in_the_middle_of_a_burst_costs_its_cell_only(
    environment: str, interpreter: Path, tmp_path: Path
) -> None:
    """Here an IndexError; on CUDA the same lines are a device-side assertion."""
    made = patched.interpreter(interpreter, tmp_path / "made", "bench.worker", sabotage.FAULTS["lost-device"], "numpy")
    code, records = run_with(made, environment, tmp_path)
    (broken,) = records
    assert code == 4
    assert isinstance(broken.outcome, Failed)
    assert (broken.outcome.stage, broken.outcome.type) == ("burst", "IndexError")
    assert run_with(interpreter, environment, tmp_path / "next")[0] == 0


@pytest.mark.parametrize("environment", ["torch"])
def test_a_planted_release_computes_a_share_twice_under_another_version(
    environment: str, interpreter: Path, tmp_path: Path
) -> None:
    made = planted.plant(interpreter, tmp_path / "made", 0.25, "9.9.9+planted")
    code = (
        "import importlib.metadata as m, torch; print(m.version('torch'), torch.nn.Linear.forward.__qualname__);"
        "layer = torch.nn.Linear(3, 2); given = torch.ones(8, 3);"
        "print(torch.equal(layer(given), torch.nn.functional.linear(given, layer.weight, layer.bias)))"
    )
    said = subprocess.run([str(made), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["9.9.9+planted", "patch.<locals>.slower", "True"]


def test_wrong_interpreters_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere: No such file"):
        patched.interpreter(tmp_path / "nowhere", tmp_path / "made", "bench.worker", "", "numpy")
    with pytest.raises(SystemExit, match="has no no-such-package"):
        patched.interpreter(Path(sys.executable), tmp_path / "made", "bench.worker", "", "no-such-package")
    with pytest.raises(SystemExit, match="above 0 and at most 1, got 2"):
        planted.plant(Path(sys.executable), tmp_path / "made", 2, "1")
