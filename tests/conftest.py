"""What every test can ask for. The frameworks' interpreters come from outside: nox makes them (see noxfile.py).

A test that needs frameworks takes ``interpreters`` (all of them), or ``environment`` and ``interpreter`` (it then runs
once per environment); it is marked ``frameworks`` by that. A missing interpreter is a failure, never a silent skip,
unless the person says ``--no-frameworks``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench import environments, precision

pytest_plugins = ["pytester"]

NEEDS_FRAMEWORKS = {"interpreters", "interpreter", "environment"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ways to run less than everything, and the one to run more."""
    group = parser.getgroup("twinbench's own tests")
    group.addoption("--no-frameworks", action="store_true", help="deselect the tests that need a framework")
    group.addoption("--older", action="store_true", help="also the tests of the environments that only a plugin needs")
    group.addoption("--browser", action="store_true", help="run only the tests in a browser (nox -s browser)")
    group.addoption(
        "--environment",
        action="append",
        choices=environments.listed(),
        help="run only the tests of this environment, which need no other (may be given again)",
    )


def chosen(config: pytest.Config) -> Sequence[str]:
    """The environments that this run of the tests covers."""
    return config.getoption("--environment") or environments.names()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``environment``: once per environment, unless the test parametrises it itself."""
    parametrised = any("environment" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "environment" in metafunc.fixturenames and not parametrised:
        metafunc.parametrize("environment", chosen(metafunc.config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need frameworks, and deselect by the options."""
    dropped = []
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if names & NEEDS_FRAMEWORKS:
            item.add_marker("frameworks")
        needs = item.get_closest_marker("frameworks") is not None
        # With --environment the other interpreters may be missing: only tests of that one environment can run.
        of_one = "environment" in names and item.callspec.params.get("environment") in chosen(config)  # type: ignore[attr-defined]
        # A browser is not on every machine: its tests have a session of their own, in which none may be missing.
        in_browser = item.get_closest_marker("browser") is not None
        unwanted = (
            in_browser != config.getoption("--browser"),
            (config.getoption("--no-frameworks") and needs),
            (config.getoption("--environment") and not of_one),
            (item.get_closest_marker("older") is not None and not config.getoption("--older")),
        )
        if any(unwanted):
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def variable_of(environment: str) -> str:
    """What names the interpreter of ``environment``."""
    return f"TWINBENCH_PYTHON_{environment.upper().replace('-', '_')}"


def interpreter_of(environment: str) -> Path:
    """The interpreter given for ``environment``; the test fails when there is none."""
    variable = variable_of(environment)
    path = os.environ.get(variable)
    if not path or not Path(path).is_file():
        pytest.fail(
            f"{variable} is {path or 'not set'}: run the tests with `python3 noxfile.py -s tests`, "
            "or without frameworks: `pytest --no-frameworks`",
            pytrace=False,
        )
    return Path(path)


@pytest.fixture(scope="session", autouse=True)
def operands_drawn_once() -> Iterator[None]:
    """The precision check's large operands are the same in each process; scripted workers are hundreds in this one."""
    a, b = precision.large_operands()
    a.setflags(write=False)
    b.setflags(write=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "large_operands", lambda: (a, b))
        yield


@pytest.fixture(scope="session")
def interpreters(pytestconfig: pytest.Config) -> dict[str, Path]:
    """Environment -> interpreter, for every environment that this run covers, and others whose interpreter is given."""
    needed = [name for name in environments.listed() if name in chosen(pytestconfig) or variable_of(name) in os.environ]
    return {name: interpreter_of(name) for name in needed}


def quicken(patch: pytest.MonkeyPatch) -> None:
    """XLA without its costly passes: the same program, compiled in a third of the time. Runs never have this."""
    patch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """See ``quicken``."""
    quicken(monkeypatch)


@pytest.fixture
def interpreter(environment: str) -> Path:
    """The interpreter of the test's ``environment``."""
    return interpreter_of(environment)
