"""Environments, devices and the variables of a child: pure functions, plus the claims about thread pools, tried out."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from bench import environments
from bench.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: A matrix product on all threads that the framework takes.
BUSY = {
    "torch": "import torch; a = torch.ones(700, 700); f = lambda: (a @ a).sum().item()",
    "tensorflow": "import tensorflow as tf; a = tf.ones((700, 700)); f = lambda: tf.matmul(a, a).numpy()",
    "jax": "import jax; a = jax.numpy.ones((700, 700)); g = jax.jit(jax.numpy.dot); f = lambda: g(a, a).item(0)",
    "mlx": "import mlx.core as mx; a = mx.ones((300, 300)); f = lambda: mx.eval(a @ a)",
}
#: PyPI's MLX on Linux computes on one thread, whatever it is told (METAL.md: a reference BLAS).
SINGLE_THREADED = {"mlx"}
#: CPU time of all threads over that of the busiest: as many as share the work, however busy the machine is.
MEASURE = """
import os
def ticks():
    files = (f"/proc/self/task/{task}/stat" for task in os.listdir("/proc/self/task"))
    fields = {file: open(file).read().rpartition(")")[2].split() for file in files}
    return {file: int(values[11]) + int(values[12]) for file, values in fields.items()}
for _ in range(3): f()
before = ticks()
while sum(ticks().values()) - sum(before.values()) < 100: f()
spent = [count - before.get(file, 0) for file, count in ticks().items()]
print(sum(spent) / max(spent))
"""


def test_defaults_are_pyprojects() -> None:
    """noxfile and harness list the same environments; each has exact pins and nothing of the harness."""
    assert environments.names() == PYPROJECT["tool"]["twinbench"]["environments"]
    for name in environments.names():
        pins = PYPROJECT["project"]["optional-dependencies"][name]
        assert all("==" in pin for pin in pins)
        assert not any(pin.startswith(("msgspec", "typer", "rich", "psutil")) for pin in pins)
        assert any(pin.startswith("numpy==") for pin in pins)
    assert set(PYPROJECT["tool"]["twinbench"]["on-a-mac"]) < set(environments.names())


def test_every_behaviour_is_a_hidden_environment() -> None:
    """The saboteurs can be asked for by name and are never offered."""
    for behaviour in environments.FAKE_BEHAVIOURS:
        environment = environments.get(f"fake-{behaviour}")
        assert environment.behaviour == behaviour
        assert environment.hidden
        assert environment.framework == "fake"
    assert environments.get("fake").behaviour is None
    assert environments.get("torch").behaviour is None
    assert not any(name.startswith("fake") for name in environments.names())


@pytest.mark.parametrize(("wrong", "near"), [("tensorflwo", "tensorflow"), ("fake-wrnog", "fake-wrong")])
def test_unknown_environment_names_the_nearest(wrong: str, near: str) -> None:
    """A typing error is a usage error with the word that was meant."""
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        environments.get(wrong)


def test_hidden_environments_are_not_offered() -> None:
    """A message about an unknown word lists what people can use."""
    with pytest.raises(UsageError) as caught:
        environments.get("pytorch")
    assert "fake" not in str(caught.value)


@pytest.mark.parametrize(
    ("system", "machine", "files", "devices"),
    [
        ("linux", "x86_64", (), ["cpu"]),
        ("linux", "x86_64", ("/dev/nvidia0",), ["cpu", "cuda"]),
        ("linux", "aarch64", ("/dev/nvidiactl",), ["cpu", "cuda"]),
        ("darwin", "arm64", (), ["cpu", "metal"]),
        ("darwin", "x86_64", (), ["cpu"]),
    ],
)
def test_default_devices(system: str, machine: str, files: tuple[str, ...], devices: list[str]) -> None:
    """What a machine may have, from what can be seen without a framework."""
    assert environments.default_devices(system, machine, lambda path: path in files) == devices


def test_available_devices() -> None:
    """The environment's order, only what is here; the scripted framework's devices are always there."""
    torch, jax, fake = (environments.get(name) for name in ("torch", "jax", "fake-wrong"))
    assert environments.available_devices(torch, ["cpu", "metal"]) == ["cpu", "metal"]
    assert environments.available_devices(jax, ["cpu", "metal"]) == ["cpu"]
    assert environments.available_devices(fake, ["cpu"]) == ["cpu", "cuda"]


@pytest.mark.parametrize("name", list(environments.ENVIRONMENTS))
@pytest.mark.parametrize("threads", [1, 7])
def test_variables_hold_the_thread_count(name: str, threads: int) -> None:
    """Every environment gets the same count under every name; all values are text, as a process needs."""
    found = environments.variables(environments.get(name), "cpu", threads)
    counts = [value for key, value in found.items() if "THREADS" in key and "INTEROP" not in key]
    assert counts
    assert set(counts) == {str(threads)}
    assert all(isinstance(value, str) for value in found.values())


def test_variables_keep_the_cpu_off_the_gpu() -> None:
    """A CPU cell sees no CUDA device, a CUDA cell does, and JAX is told its platform in words.

    But for MLX: its wheel for CUDA cannot be imported without a GPU in sight (seen with 0.32.4 on an H100).
    """
    for device in ("cpu", "cuda"):
        assert "CUDA_VISIBLE_DEVICES" not in environments.variables(environments.get("mlx"), device, 2)
    for name in ("torch", "tensorflow", "jax"):
        environment = environments.get(name)
        assert environments.variables(environment, "cpu", 2)["CUDA_VISIBLE_DEVICES"] == ""
        assert "CUDA_VISIBLE_DEVICES" not in environments.variables(environment, "cuda", 2)
    assert environments.variables(environments.get("jax"), "cpu", 2)["JAX_PLATFORMS"] == "cpu"
    assert environments.variables(environments.get("jax"), "cuda", 2)["JAX_PLATFORMS"] == "cuda,cpu"
    assert environments.variables(environments.get("torch"), "metal", 2)["PYTORCH_ENABLE_MPS_FALLBACK"] == "0"
    assert environments.variables(environments.get("mlx"), "metal", 2)["MLX_ENABLE_TF32"] == "0"


def test_tf32_of_mlx_is_a_variable_of_the_process() -> None:
    for name in ("mlx", "jax-mps"):
        given = environments.variables(environments.get(name), "metal", 2)
        assert environments.precision_variables(given, "tf32") == {"MLX_ENABLE_TF32": "1"}
        assert environments.precision_variables(given, "fp32") == {}
    assert environments.precision_variables(environments.variables(environments.get("torch"), "cuda", 2), "tf32") == {}


PARENT = {
    "PATH": "/usr/bin",
    "HOME": "/home/somebody",
    "LC_ALL": "C.UTF-8",
    "DYLD_LIBRARY_PATH": "/opt/lib",
    "VIRTUAL_ENV": "/home/somebody/.venv",
    "PYTHONPATH": "/home/somebody/lib",
    "PYTHONHOME": "/usr",
    "AWS_REGION": "mars",
    "TF_VAR_db": "hidden",
    "TF_CLI_CONFIG_FILE": "/home/somebody/.terraformrc",
    "TORCH_HUB_TOKEN": "hidden",
    "PYTORCH_MPS_PREFER_METAL": "1",
    "OMP_NUM_THREADS": "64",
    "XLA_FLAGS": "--xla_dump_to=/tmp/x",
}


def test_child_environment_is_an_allow_list() -> None:
    """Inherited by name or prefix, never Terraform's or a secret; ours win."""
    child = environments.child_environment(PARENT, environments.get("torch"), "cpu", 3)
    for name in ("PATH", "HOME", "LC_ALL", "DYLD_LIBRARY_PATH", "PYTORCH_MPS_PREFER_METAL", "XLA_FLAGS"):
        assert child[name] == PARENT[name]
    ours = environments.variables(environments.get("torch"), "cpu", 3)
    assert child["OMP_NUM_THREADS"] == "3"
    assert set(child) - set(ours) <= set(PARENT)
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "AWS_REGION", "TF_VAR_db", "TORCH_HUB_TOKEN"):
        assert name not in child
    assert "TF_CLI_CONFIG_FILE" not in child


def test_recorded_is_what_changes_figures() -> None:
    """Not the person's folders; also not a secret that reached a child in another way."""
    child = environments.child_environment(PARENT, environments.get("jax"), "cpu", 3)
    found = environments.recorded(child | {"TF_VAR_db": "hidden", "MLX_API_KEY": "hidden"})
    assert found.items() >= environments.variables(environments.get("jax"), "cpu", 3).items()
    assert found["XLA_FLAGS"] == PARENT["XLA_FLAGS"]
    assert "hidden" not in found.values()
    assert not {"PATH", "HOME", "LC_ALL", "DYLD_LIBRARY_PATH"} & set(found)


def busy_threads(interpreter: Path, environment: str, threads: int) -> float:
    """Threads that share a matrix product under the variables for ``threads``."""
    done = subprocess.run(
        [interpreter, "-I", "-W", "ignore", "-c", BUSY[environment] + MEASURE],
        env={"PATH": "/usr/bin:/bin", **environments.variables(environments.get(environment), "cpu", threads)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads by /proc")
def test_threads_are_what_was_asked_for(environment: str, interpreter: Path) -> None:
    """One thread is one thread; two are more than one, so the measure can tell (and needs no two free cores)."""
    assert busy_threads(interpreter, environment, 1) < 1.3
    assert (busy_threads(interpreter, environment, 2) > 1.4) != (environment in SINGLE_THREADED)
