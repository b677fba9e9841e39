"""Every environment's pins resolve for the systems that it is for, asked of the package index from here.

A pin that no longer installs on a Mac is found on Linux: uv resolves for another platform, installing nothing. The
pins of a plugin must also hold the pairs of bench/plugins.py, which no index knows.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench import environments, plugins
from bench.errors import Unavailable

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
SETTINGS = PYPROJECT["tool"]["twinbench"]
DARWIN, LINUX = "aarch64-apple-darwin", "x86_64-manylinux_2_35"
#: A slow index must not hold up the tests; a resolution takes a second or two.
TIMEOUT_S = 120


def pythons(name: str) -> list[str]:
    """The oldest and the newest Python that the environment is for."""
    wanted = SETTINGS["optional"].get(name, {}).get("python", ["3.13", "3.11"])
    return sorted({wanted[0], wanted[-1]})


def targets() -> list[tuple[str, str, str]]:
    """(environment, platform, Python) of everything that somebody may install."""
    found = []
    for name in environments.listed():
        system = SETTINGS["optional"].get(name, {}).get("system")
        if system != "linux":
            found += [(name, DARWIN, python) for python in pythons(name)]
        if system != "darwin":
            found.append((name, LINUX, pythons(name)[0]))
    return found


@pytest.fixture(scope="module")
def uv() -> str:
    """uv, which nox brings along; the test fails without it, for then nobody asks."""
    path = shutil.which("uv")
    if path is None and importlib.util.find_spec("uv") is not None:
        import uv as package

        path = package.find_uv_bin()
    if path is None:
        pytest.fail("uv is not installed; it belongs to the test dependencies", pytrace=False)
    return str(path)


def resolved(uv: str, pins: list[str], place: str, python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``uv pip compile`` for a machine that is not this one."""
    asked = folder / "asked.in"
    asked.write_text("\n".join(pins))
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"]
    command += ["--python-platform", place, "--python-version", python, str(asked)]
    # Without it uv takes the Mac for a macOS 13, and refuses or ages what needs a newer one.
    variables = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "15.0", "UV_PYTHON_DOWNLOADS": "never"}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)


@pytest.fixture(scope="module")
def index(uv: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """uv, when there is an index to ask: a small package is asked for first, so that only its absence is a skip."""
    try:
        done = resolved(uv, ["six"], LINUX, "3.12", tmp_path_factory.mktemp("index"))
    except subprocess.TimeoutExpired:
        pytest.skip(f"no package index: it did not answer within {TIMEOUT_S} s")
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    return uv


@pytest.mark.parametrize(("name", "place", "python"), targets())
def test_pins_resolve(index: str, name: str, place: str, python: str, tmp_path: Path) -> None:
    """Every pin of the environment, with its dependencies, on the oldest and newest Python that it is for."""
    done = resolved(index, [*EXTRAS[name], *EXTRAS["media"]], place, python, tmp_path)
    assert done.returncode == 0, done.stderr
    versions = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)
    if place == DARWIN and (plugin := environments.get(name).plugin) is not None:
        # The index knows nothing of these bounds.
        plugins.check(environments.get(name).framework, plugin, versions, {plugin})


def test_a_bad_pin_is_found(index: str, tmp_path: Path) -> None:
    """The saboteurs: a version that never was, one without a wheel for this Python, and one without Mac wheels."""
    for pins, python in (
        (["jax==0.10.99"], "3.11"),
        (["tensorflow==2.19.1"], "3.13"),
        (["jax-mps==0.10.11", "jax==0.11.2"], "3.12"),
        (["nvidia-cublas-cu12==12.8.4.1"], "3.11"),
    ):
        done = resolved(index, pins, DARWIN, python, tmp_path)
        assert done.returncode != 0, pins


def test_a_pair_that_the_index_allows_is_still_refused(index: str, tmp_path: Path) -> None:
    """tensorflow-metal names no TensorFlow: resolution is content with a pair that cannot be imported."""
    done = resolved(index, ["tensorflow==2.20.0", "tensorflow-metal==1.2.0"], DARWIN, "3.12", tmp_path)
    assert done.returncode == 0, done.stderr
    versions = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)
    with pytest.raises(Unavailable, match="version_pair"):
        plugins.check("tensorflow", "tensorflow-metal", versions)


def test_optional_pins_are_exact() -> None:
    """As those of the default environments; a CPU baseline has the very pins of its accelerator, less the plugin."""
    for name in SETTINGS["optional"]:
        assert all(re.search(r"==\d", pin) for pin in EXTRAS[name]), name
        assert not any("+" in pin for pin in EXTRAS[name]), "a local version cannot be had from an index"
        baseline = environments.get(name).cpu
        plugin = environments.get(name).plugin
        if baseline != name:
            assert {pin for pin in EXTRAS[name] if not pin.startswith(f"{plugin}==")} == set(EXTRAS[baseline]), name
