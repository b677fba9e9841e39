"""noxfile.py: what it lists, how it makes environments, and what a machine with the wrong Python is told."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from bench import environments
from benchmarks.peers.lines import CUDA_LINES, LINES, PARITY

ROOT = Path(__file__).resolve().parent.parent
NOXFILE = ROOT / "noxfile.py"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAMES = PYPROJECT["tool"]["twinbench"]["environments"]
OPTIONAL = PYPROJECT["tool"]["twinbench"]["optional"]


class Registry(ModuleType):
    """A stand-in for nox, which is not installed beside the tests: notes the names of the sessions."""

    def __init__(self) -> None:
        super().__init__("nox")
        self.sessions: list[str] = []
        self.options = type("Options", (), {})()
        self.virtualenv = ModuleType("nox.virtualenv")

    def session(self, function: Callable[..., None] | None = None, *, name: str | None = None) -> Any:
        """nox.session with and without parentheses."""
        if function is None:
            return lambda inner: self.session(inner, name=name)
        self.sessions.append(name or function.__name__)
        return function


@pytest.fixture
def nox(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """nox's stand-in, in place while the file is loaded."""
    registry = Registry()
    monkeypatch.setitem(sys.modules, "nox", registry)
    monkeypatch.setitem(sys.modules, "nox.virtualenv", registry.virtualenv)
    return registry


def loaded() -> ModuleType:
    """noxfile.py as a module."""
    spec = importlib.util.spec_from_file_location("noxfile_under_test", NOXFILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def noxfile(nox: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """noxfile.py as a module, its folder replaced by a temporary one; its settings for uv are taken back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    module = loaded()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "NOX_DIR", tmp_path / ".nox")
    return module


def test_sessions_are_pyprojects_environments(noxfile: ModuleType, nox: Registry) -> None:
    """One bench and one parity session per environment of pyproject.toml, and no list in the file itself."""
    expected = {
        "bench", "tests", "older", "report", "lint", "peers", "smoke", "wheels", "nightly", "browser", "screenshots",
    }  # fmt: skip
    expected |= {f"{session}({name})" for session in ("bench", "parity") for name in (*NAMES, *OPTIONAL)}
    assert set(nox.sessions) == expected
    assert len(nox.sessions) == len(expected)
    source = NOXFILE.read_text(encoding="utf-8")
    assert not any(name in source for name in NAMES)


def test_the_tests_have_environments_that_bench_leaves_out(
    nox: Registry, monkeypatch: pytest.MonkeyPatch, noxfile: ModuleType
) -> None:
    """MLX without its GPU is for tests; they have it everywhere."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(noxfile, "default_environments", lambda: ("torch",))
    monkeypatch.setattr(noxfile, "run_bench", lambda session, names, **options: asked.append(tuple(names)))
    monkeypatch.setattr(noxfile, "run_pytest", lambda session, names: asked.append(tuple(names)))
    session = MagicMock(posargs=[])
    noxfile.bench(session)
    noxfile.tests(session)
    assert asked[0] == ("torch",)
    assert set(NAMES) <= set(asked[1])


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 8, 10, "final", 0), (3, 10, 99)])
def test_old_python_is_told(noxfile: ModuleType, version: tuple[object, ...]) -> None:
    """A sentence with both versions, no traceback."""
    with pytest.raises(SystemExit, match=rf"needs Python 3\.11 or newer, this is {version[0]}\.{version[1]}"):
        noxfile.refuse_old_python(version)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 0), (4, 0, 0)])
def test_new_python_is_welcome(noxfile: ModuleType, version: tuple[object, ...]) -> None:
    """Nothing happens."""
    assert noxfile.refuse_old_python(version) is None


def test_the_file_parses_on_old_python() -> None:
    """Else the guard never runs: the grammar of 3.8, and the guard before any import that 3.8 does not have."""
    tree = ast.parse(NOXFILE.read_text(encoding="utf-8"), feature_version=(3, 8))
    lines = {alias.name: node.lineno for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    calls = [node.lineno for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert lines["sys"] < min(calls) < lines["tomllib"]
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case _: pass", feature_version=(3, 8))


def test_bridge_keeps_what_exists(noxfile: ModuleType, tmp_path: Path) -> None:
    """pip passes over a missing folder, uv fails on it; addresses pass as they are; uv's own setting wins."""
    bridged = noxfile.bridged
    assert bridged({}) == {"UV_PYTHON_DOWNLOADS": "never"}
    places = f"{tmp_path} {tmp_path}/missing https://example.org/whl"
    assert bridged({"PIP_FIND_LINKS": places})["UV_FIND_LINKS"] == f"{tmp_path},https://example.org/whl"
    assert "UV_FIND_LINKS" not in bridged({"PIP_FIND_LINKS": f"{tmp_path}/missing"})
    assert "UV_FIND_LINKS" not in bridged({"PIP_FIND_LINKS": str(tmp_path), "UV_FIND_LINKS": "/mine"})
    assert "UV_PYTHON_DOWNLOADS" not in bridged({"UV_PYTHON_DOWNLOADS": "automatic"})
    indexes = {
        "PIP_INDEX_URL": "https://a.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://b.example https://c.example",
    }
    found = bridged(indexes)
    assert found["UV_DEFAULT_INDEX"] == "https://a.example/simple"
    assert found["UV_INDEX"] == "https://b.example https://c.example"


def test_stamp_changes_with_pins_and_interpreter(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the pins does not matter; each pin, the version and the place of Python do."""
    first = noxfile.stamp(["a==1", "b==2"])
    assert first == noxfile.stamp(["b==2", "a==1"])
    assert first != noxfile.stamp(["a==1", "b==3"])
    assert first != noxfile.stamp(["a==1"])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", "3.99")
        assert first != noxfile.stamp(["a==1", "b==2"])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "base_prefix", "/elsewhere")
        assert first != noxfile.stamp(["a==1", "b==2"])


class Maker:
    """Stands for ``creation``: counts, and makes an environment by shell commands in place of installing."""

    def __init__(self, fails: bool = False) -> None:
        self.made = 0
        self.fails = fails

    def __call__(self, folder: Path, requirements: list[str], uv: str | None, base: str) -> list[list[str]]:
        self.made += 1
        make = f"mkdir -p {folder}/bin && ln -s {sys.executable} {folder}/bin/python"
        return [["sh", "-c", make], ["sh", "-c", "exit 7" if self.fails else "exit 0"]]


def test_environment_is_made_once(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again only when the pins change or the interpreter is gone."""
    maker = Maker()
    monkeypatch.setattr(noxfile, "creation", maker)
    folder = noxfile.NOX_DIR / "environments" / "one"
    for _ in range(3):
        assert noxfile.environment(folder, ["a==1"], None) == folder / "bin" / "python"
    assert maker.made == 1
    noxfile.environment(folder, ["a==2"], None)
    assert maker.made == 2
    (folder / "bin" / "python").unlink()
    noxfile.environment(folder, ["a==2"], None)
    assert maker.made == 3


def test_interrupted_environment_is_made_again(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed installation leaves an interpreter but no stamp, and is no reason to believe in it."""
    folder = noxfile.NOX_DIR / "environments" / "one"
    monkeypatch.setattr(noxfile, "creation", Maker(fails=True))
    with pytest.raises(noxfile.SetupError, match="7 from: sh -c exit 7"):
        noxfile.environment(folder, ["a==1"], None)
    assert (folder / "bin" / "python").exists()
    maker = Maker()
    monkeypatch.setattr(noxfile, "creation", maker)
    noxfile.environment(folder, ["a==1"], None)
    assert maker.made == 1


def test_creation_uses_uv_or_pip(noxfile: ModuleType, tmp_path: Path) -> None:
    """Both install exactly the requirements into the folder's own interpreter."""
    for uv in (None, "/opt/uv"):
        make, install = noxfile.creation(tmp_path, ["a==1", "b==2; sys_platform == 'linux'"], uv)
        assert make[0] == (uv or sys.executable)
        assert make[-1] == str(tmp_path)
        assert str(tmp_path / "bin" / "python") in install
        assert install[-2:] == ["a==1", "b==2; sys_platform == 'linux'"]


def test_creation_installs_in_turn(noxfile: ModuleType, tmp_path: Path) -> None:
    """What must go in without its dependencies goes in after the rest, by both installers."""
    for uv in (None, "/opt/uv"):
        _, first, second = noxfile.creation(tmp_path, ["a==1"], uv, ["--no-deps", "b==2"])
        assert first[-1] == "a==1"
        assert "--no-deps" not in first
        assert second[-2:] == ["--no-deps", "b==2"]
        assert second[:-2] == first[:-1]


def test_another_python_is_another_environment(noxfile: ModuleType, tmp_path: Path) -> None:
    """The base is what makes the folder, and part of what it is known by."""
    for uv in (None, "/opt/uv"):
        make, install = noxfile.creation(tmp_path, ["a==1"], uv, base="/opt/python3.12")
        assert "/opt/python3.12" in make
        assert sys.executable not in (*make, *install)


def test_optional_environments_have_their_python(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one where it serves, else one from the PATH, else a sentence that names those that would do."""
    there = {"python3.11": "/usr/bin/python3.11"}
    monkeypatch.setattr(shutil, "which", there.get)
    assert noxfile.base_python("jax-mps", (3, 99)) == sys.executable
    assert noxfile.base_python("tensorflow-metal", (3, 12)) == sys.executable
    assert noxfile.base_python("tensorflow-metal", (3, 13)) == "/usr/bin/python3.11"
    with pytest.raises(noxfile.SetupError, match=r"metaljax needs Python 3\.14 or 3\.13 or 3\.12, this is 3\.11"):
        noxfile.base_python("metaljax", (3, 11))


def test_an_environment_belongs_to_its_system(noxfile: ModuleType) -> None:
    """A plugin's pins install their CPU side elsewhere, and nobody may take that for the plugin."""
    assert noxfile.check_system("jax-mps", "darwin") is None
    assert noxfile.check_system("torch-cuda", "linux") is None
    assert noxfile.check_system("jax-metal-cpu", "linux") is None
    assert noxfile.check_system(NAMES[0], "linux") is None
    with pytest.raises(noxfile.SetupError, match="jax-mps is complete on darwin only, this is linux"):
        noxfile.check_system("jax-mps", "linux")


def test_a_mac_has_defaults_of_its_own(noxfile: ModuleType) -> None:
    """With a GPU in each framework, and each with its CPU; an Intel Mac has no Metal here."""
    assert list(noxfile.default_environments("darwin", "arm64")) == PYPROJECT["tool"]["twinbench"]["mac"]
    for system, machine in (("darwin", "x86_64"), ("linux", "aarch64")):
        assert list(noxfile.default_environments(system, machine)) == [name for name in NAMES if name != "mlx"]
    for name in noxfile.MAC:
        assert set(noxfile.with_baseline(name)) <= set(noxfile.MAC)


def test_optional_environments_are_the_harnesses(noxfile: ModuleType) -> None:
    """The same names and baselines in pyproject.toml and bench/environments.py."""
    entries = environments.ENVIRONMENTS
    assert list(OPTIONAL) == [name for name in environments.listed() if entries[name].optional]
    for name in OPTIONAL:
        assert noxfile.with_baseline(name)[0] == entries[name].cpu
        assert noxfile.with_baseline(name)[-1] == name
    assert set(noxfile.OLDER) <= {name for name in OPTIONAL if "cpu" in entries[name].devices}


def test_what_is_built_against_the_rest_comes_last(noxfile: ModuleType) -> None:
    """tensorflow-metal-plugin is compiled against the TensorFlow that is there already."""
    first, more = noxfile.requirements_of("tensorflow-metal-plugin")
    assert more == [["--no-build-isolation", "tensorflow-metal-plugin==0.4.1; sys_platform == 'darwin'"]]
    assert any(pin.startswith("tensorflow==") for pin in first)
    assert not any(pin.startswith("tensorflow-metal-plugin") for pin in first)
    assert noxfile.requirements_of("jax-mps")[1] == []


def test_a_default_that_cannot_be_made_is_left_out_on_a_mac_only(
    noxfile: ModuleType, nox: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name it is an error; among a Mac's defaults it costs the others nothing, and is said."""
    monkeypatch.setattr(nox.virtualenv, "find_uv", lambda: (False, "", None), raising=False)
    monkeypatch.setattr(noxfile, "environment", lambda folder, *_, **__: folder)
    monkeypatch.setattr(shutil, "which", lambda word: None)
    monkeypatch.setitem(noxfile.OPTIONAL, "tensorflow-metal", {"python": ["2.7"]})
    session = MagicMock()
    session.error.side_effect = SystemExit
    assert list(noxfile.interpreters(session, ["tensorflow-metal", "jax-mps"], lenient=True)) == ["jax-mps"]
    assert "tensorflow-metal needs Python 2.7" in session.warn.call_args[0][0]
    with pytest.raises(SystemExit):
        noxfile.interpreters(session, ["tensorflow-metal", "jax-mps"])


def test_requirements_in_batches(noxfile: ModuleType) -> None:
    """An option in a comment holds from there on, several together; plain comments and empty lines are nothing."""
    text = "# What it needs:\na==1\n\nb<2\n# --no-deps: because\n# --no-build-isolation: also\nc==3\n# why\nd==4\n"
    text += "# --pre\ne\n"
    assert noxfile.batches(text) == [
        ["a==1", "b<2"],
        ["--no-deps", "--no-build-isolation", "c==3", "d==4"],
        ["--no-deps", "--no-build-isolation", "--pre", "e"],
    ]
    assert noxfile.batches("a\n") == [["a"]]


def test_peers_are_environments(noxfile: ModuleType) -> None:
    """Every other library has an entry in bench/environments.py, requirements, and lines in the table."""
    known = {name for name, one in environments.ENVIRONMENTS.items() if one.twins.startswith("benchmarks.peers")}
    assert set(noxfile.PEERS) == known == set(PARITY) == {line.peer for line in (*LINES, *CUDA_LINES)}
    for requirements in noxfile.PEERS.values():
        first, *more = noxfile.batches((ROOT / requirements).read_text(encoding="utf-8"))
        assert any("numpy" in requirement for requirement in first)
        assert all(arguments[0].startswith("--") for arguments in more)


def test_a_peer_that_cannot_be_made_is_left_out(
    noxfile: ModuleType, nox: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The session warns and goes on with the others."""
    for name in ("good", "bad"):
        (tmp_path / f"{name}.txt").write_text(f"{name}==1\n# --no-deps\nlate==2\n")
    monkeypatch.setattr(noxfile, "PEERS", {"bad": "bad.txt", "good": "good.txt"})
    monkeypatch.setattr(nox.virtualenv, "find_uv", lambda: (False, "", None), raising=False)
    asked = []

    def environment(folder: Path, requirements: list[str], uv: str | None, *more: list[str]) -> Path:
        asked.append((folder.name, requirements, more))
        if folder.name == "bad":
            raise noxfile.SetupError("no such version")
        return folder

    monkeypatch.setattr(noxfile, "environment", environment)
    session = MagicMock()
    assert list(noxfile.peer_interpreters(session)) == ["good"]
    session.warn.assert_called_once_with("no such version")
    assert asked[1] == ("good", ["good==1"], (["--no-deps", "late==2"],))


def test_missing_venv_is_told(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian's Python without python3-venv has venv but no ensurepip; with uv neither is needed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(noxfile.SetupError, match="apt install python3-venv"):
        noxfile.creation(tmp_path, [], None)
    assert noxfile.creation(tmp_path, [], "/opt/uv")
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        noxfile.bootstrap(["--list"])


def test_script_goes_on_under_its_own_nox(tmp_path: Path) -> None:
    """Run as a script in a copy where the bootstrap environment is there: nox gets the file and the arguments."""
    for name in ("noxfile.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / ".nox" / "bootstrap"
    (folder / "bin").mkdir(parents=True)
    script = folder / "bin" / "python"
    script.write_text('#!/bin/sh\necho "$@"\n')
    script.chmod(0o755)
    probe = "import noxfile; print(noxfile.stamp(noxfile.PYPROJECT['dependency-groups']['nox']))"
    fake_nox = "import sys, types; nox = types.ModuleType('nox'); nox.virtualenv = types.ModuleType('nox.virtualenv'); "
    fake_nox += "nox.options = types.SimpleNamespace(); nox.Session = object; "
    fake_nox += "nox.session = lambda f=None, **k: f or (lambda g: g); "
    fake_nox += "sys.modules.update({'nox': nox, 'nox.virtualenv': nox.virtualenv}); "
    stamp = subprocess.run(
        [sys.executable, "-c", fake_nox + probe], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (folder / "twinbench-stamp").write_text(stamp.stdout.strip())
    done = subprocess.run(
        [sys.executable, "noxfile.py", "-s", "bench", "--", "mlp:wide"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        "-m",
        "nox",
        "--noxfile",
        str(tmp_path / "noxfile.py"),
        "-s",
        "bench",
        "--",
        "mlp:wide",
    ]


def test_smoke_tries_everything_and_then_fails(
    noxfile: ModuleType, nox: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One workload that is wrong on the GPU hides no other; without any failure the session is green."""

    class CommandFailed(Exception):
        pass

    nox.command = ModuleType("nox.command")  # type: ignore[attr-defined]
    nox.command.CommandFailed = CommandFailed
    monkeypatch.setattr(noxfile, "install", lambda session: None)
    monkeypatch.setattr(noxfile, "interpreters", lambda session, names, lenient: {"torch": Path("t/bin/python")})
    for name in ("mlp", "whisper"):
        (tmp_path / "workloads" / name).mkdir(parents=True)
        (tmp_path / "workloads" / name / "__init__.py").write_text("")
    bad: list[str] = []
    session = MagicMock(posargs=["--device", "metal"])
    session.run.side_effect = lambda *command: (_ for _ in ()).throw(CommandFailed) if bad[-1:] == [command[2]] else 0
    session.error.side_effect = SystemExit
    noxfile.smoke(session)
    commands = [call[0][1:] for call in session.run.call_args_list]
    assert commands == [
        ("doctor", "--python=torch=t/bin/python"),
        ("verify", "mlp:tiny-test", "--device", "metal", "--python=torch=t/bin/python"),
        ("verify", "whisper:tiny-test", "--device", "metal", "--python=torch=t/bin/python"),
    ]
    bad.append("mlp:tiny-test")
    with pytest.raises(SystemExit):
        noxfile.smoke(session)
    session.error.assert_called_once_with("failed: verify mlp:tiny-test --device metal")
    assert len(session.run.call_args_list) == 6
    monkeypatch.setattr(noxfile, "interpreters", lambda session, names, lenient: {})
    with pytest.raises(SystemExit):
        noxfile.smoke(session)


def test_ci_runs_lint_then_tests() -> None:
    """The CI entry stops at the first failure, also inside a pipe."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert 0 < text.index("noxfile.py -s lint") < text.index("noxfile.py -s tests")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


FIXTURE_TEST = """
def test_one(environment, interpreter):
    assert interpreter.exists()

def test_all(interpreters):
    assert interpreters

def test_plain():
    pass
"""


@pytest.fixture
def guarded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with our conftest.py and three tests, and no interpreter given."""
    for name in NAMES:
        monkeypatch.delenv(f"TWINBENCH_PYTHON_{name.upper()}", raising=False)
    source = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(source.replace('pytest_plugins = ["pytester"]', ""))
    pytester.makepyfile(FIXTURE_TEST)
    pytester.makeini("[pytest]\nmarkers = frameworks: x")
    return pytester


def test_missing_interpreter_is_a_failure(guarded: pytest.Pytester) -> None:
    """Never a skip; --no-frameworks is the way to say that it is meant."""
    guarded.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, errors=len(NAMES) + 1)
    result = guarded.runpytest_inprocess("-p", "no:cacheprovider", "--no-frameworks")
    result.assert_outcomes(passed=1, deselected=len(NAMES) + 1)


def test_one_environment_needs_only_its_interpreter(guarded: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What parity(<environment>) runs: the tests of that environment, not those that need all."""
    monkeypatch.setenv(f"TWINBENCH_PYTHON_{NAMES[0].upper()}", sys.executable)
    result = guarded.runpytest_inprocess("-p", "no:cacheprovider", "--environment", NAMES[0])
    result.assert_outcomes(passed=1, deselected=2)


# --- nightly ---------------------------------------------------------------------------------------------------------


def test_newest_frees_what_the_table_names_and_keeps_the_other_pins(noxfile: ModuleType) -> None:
    """Every line of the table is an environment, and stands in for pins that the environment has."""
    for name in set(noxfile.NIGHTLY) - {"without"}:
        pinned = {noxfile.distribution(pin) for pin in noxfile.EXTRAS[name]}
        freed = {noxfile.distribution(one) for one in noxfile.NIGHTLY[name]}
        assert freed <= pinned, name
        wanted = noxfile.newest_requirements(name)
        assert {noxfile.distribution(one) for one in wanted} >= pinned
        assert not any(noxfile.distribution(one) in freed and "==" in one.partition(";")[0] for one in wanted)


@pytest.mark.parametrize(
    ("resolved", "pinned", "why"),
    [
        (["numpy==2.4.6", "torch==2.13.0"], ["torch==2.13.0"], "the pinned release is the newest allowed one"),
        (["nvidia-cudnn==9", "torch==2.14.0"], ["torch==2.13.0"], "brings 1 packages of CUDA (nvidia-cudnn==9"),
    ],
)
def test_newest_that_is_not_made_says_why(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, resolved: list[str], pinned: list[str], why: str
) -> None:
    monkeypatch.setattr(noxfile, "resolved", lambda *arguments: resolved)
    with pytest.raises(noxfile.SetupError) as raised:
        noxfile.newest("torch", "uv", pinned, sys.executable)
    assert why in str(raised.value)
    with pytest.raises(noxfile.SetupError, match="no line in"):
        noxfile.newest("torch-cuda", "uv", pinned, sys.executable)


def test_newest_is_made_when_a_release_came(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's packages are no reason where the pinned side has them, too."""
    monkeypatch.setattr(noxfile, "resolved", lambda *arguments: ["nvidia-cudnn==9", "torch==2.14.0"])
    pins = noxfile.newest("torch", "uv", ["nvidia-cudnn==8", "torch==2.13.0"], sys.executable)
    assert pins == ["nvidia-cudnn==9", "torch==2.14.0"]


def test_resolution_without_uv_or_an_answer_is_an_error(noxfile: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(noxfile.SetupError, match="pip install uv"):
        noxfile.resolved(["torch"], None, sys.executable)
    failing = tmp_path / "uv"
    failing.write_text("#!/bin/sh\necho no solution >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(noxfile.SetupError, match="no solution"):
        noxfile.resolved(["torch"], str(failing), sys.executable)


def test_interpreters_that_are_given_are_not_made(noxfile: ModuleType) -> None:
    words = ["--quick", "--python", "torch@newest=/a", "--python=jax=/b", "mlp"]
    assert noxfile.given_pythons(words) == {"torch@newest", "jax"}
