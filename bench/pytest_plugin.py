"""The cells as pytest-benchmark tests, for interactive use:

    pytest -p bench.pytest_plugin --twinbench mlp:digits --device cpu --benchmark-json out.json

Each cell is one test in a fresh worker; wrong outputs fail it, unsupported cells are skipped with their reason. The
times are the harness' own bursts: pytest-benchmark is given a timer that advances by what the worker measured, so its
tables, its storage and its compare show the very figures that ``twinbench run`` records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.cell import Cell
from bench.errors import TwinbenchError, UsageError
from bench.member import Context, Ended, Member
from bench.plan import Selection
from bench.record import Unsupported
from bench.run import interpreters
from bench.setup import Setup, context, default_threads, plan, profile_of, survey
from bench.summary import process_sample

#: pytest option -> field of Selection.
AXES = {
    "phase": "phases",
    "variant": "variants",
    "environment": "environments",
    "device": "devices",
    "precision": "precisions",
    "mode": "modes",
    "batch": "batches",
}
#: The largest that NumPy's legacy generator takes.
LARGEST_SEED = 2**32 - 1
_CONTEXT = pytest.StashKey[Context]()
_CELLS = pytest.StashKey[list[Cell]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--twinbench`` chooses workloads; the other axes have the names of ``twinbench run``."""
    group = parser.getgroup("twinbench")
    group.addoption("--twinbench", action="append", metavar="WORKLOAD[:SIZE]", help="measure these workloads")
    for axis in AXES:
        group.addoption(f"--{axis}", action="append", default=[], help=f"as in twinbench run --{axis}")
    group.addoption("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of an environment")
    group.addoption("--threads", type=int, default=None, help="threads of every framework")
    group.addoption("--seed", default="0", help="of weights and inputs")


def pytest_configure(config: pytest.Config) -> None:
    """With ``--twinbench``, the cells are all that is collected."""
    works = config.getoption("--twinbench")
    if not works:
        return
    try:
        setup = _setup(config, works)
        running = context(setup, "pytest")
        found = survey(setup, running, lambda environment, device: None)
        config.stash[_CELLS] = list(plan(setup, found.devices).cells)
    except TwinbenchError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_CONTEXT] = running
    config.args[:] = [str(Path(__file__).with_name("pytest_cells.py"))]


def _setup(config: pytest.Config, works: list[str]) -> Setup:
    def words(values: list[str]) -> tuple[str, ...]:
        return tuple(word.strip() for value in values for word in value.split(",") if word.strip())

    axes: dict[str, Any] = {field: words(config.getoption(f"--{axis}")) for axis, field in AXES.items()}
    axes["batches"] = tuple(_whole("--batch", word, 1) for word in axes["batches"])
    selection = Selection(workloads=words(works), **axes)
    return Setup(
        selection=selection,
        profile=profile_of("quick", 1, None),
        seed=_whole("--seed", config.getoption("--seed"), 0, LARGEST_SEED),
        threads=config.getoption("--threads") or default_threads(),
        pythons=interpreters(config.getoption("--python"), selection.environments),
    )


def _whole(option: str, word: str, least: int, most: int | None = None) -> int:
    valid = f"a whole number from {least}" + (" on" if most is None else f" to {most}")
    try:
        number = int(word)
    except ValueError:
        raise UsageError(f"{option} wants {valid}, not {word!r}") from None
    if number < least or (most is not None and number > most):
        raise UsageError(f"{option} wants {valid}, not {number}")
    return number


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per cell."""
    if "twinbench_cell" in metafunc.fixturenames:
        cells = metafunc.config.stash[_CELLS]
        metafunc.parametrize("twinbench_cell", cells, ids=[cell.label.replace(" ", "-") for cell in cells])


class BurstTimer:
    """A clock that pytest-benchmark reads: it stands still, but for what a worker measured."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Seconds of measured work so far."""
        return self.now_s


@pytest.fixture
def twinbench_member(twinbench_cell: Cell, request: pytest.FixtureRequest) -> Iterator[Member]:
    """The cell's worker, not yet started; ended after the test, whatever happens."""
    member = Member(twinbench_cell, f"pytest-{os.getpid()}", 0, request.config.stash[_CONTEXT])
    try:
        yield member
    finally:
        member.close()


def make_ready(member: Member) -> None:
    """Open, verify and warm up; a cell that cannot be measured skips or fails the test with its reason."""
    with reason_of_the_end(member):
        member.make_ready()


@contextmanager
def reason_of_the_end(member: Member) -> Iterator[None]:
    """A member that ends within skips (unsupported) or fails the test, with its reason in place of ``Ended``."""
    try:
        yield
    except Ended:
        reason = process_sample(member.record()).reason
    else:
        return
    if isinstance(member.outcome, Unsupported):
        pytest.skip(reason)
    pytest.fail(reason, pytrace=False)
