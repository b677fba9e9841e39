"""Bisection: the search itself, then wheels of a toy release by release through uv, from the command line."""

from __future__ import annotations

import math
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from bench import bisect, scratch, setup
from bench.bisect import search
from bench.environments import Environment
from bench.errors import UsageError
from bench.evidence import Duets, pairs_of
from bench.process import LocalWorker, Reply, Worker
from bench.scratch import NotMade, Uv, find_uv
from tests.harness import Cli, command_line

ENVIRONMENT = "fake-packaged"
WORK = ("mlp:tiny-test", "--package", "twinbench-toy", "--environment", ENVIRONMENT, "--blocks", "3", "--bursts", "3")

# --- the search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 9, 16, 33])
def test_every_first_bad_release_is_found_in_log2_questions(count: int) -> None:
    for first_bad in range(1, count):
        asked: list[str] = []

        def word(version: str, first_bad: int = first_bad, asked: list[str] = asked) -> str:
            asked.append(version)
            return "bad" if int(version) >= first_bad else "good"

        assert search([str(one) for one in range(count)], word) == (first_bad, [first_bad])
        assert len(asked) <= math.ceil(math.log2(count - 1)) if count > 2 else not asked
        assert len(set(asked)) == len(asked)


def test_what_is_unusable_is_passed_by_and_named() -> None:
    """Where the change lies beside releases that cannot be tried, all of them are suspects."""

    def word(version: str) -> str:
        return "unusable" if int(version) in (4, 5) else "bad" if int(version) >= 6 else "good"

    assert search([str(one) for one in range(10)], word) == (6, [4, 5, 6])
    assert search([str(one) for one in range(10)], lambda version: "unusable") == (9, list(range(1, 10)))


def test_a_release_is_judged_by_the_estimate_of_a_comparison() -> None:
    """On a busy machine: pairs of bursts at the true ratio, 0.9, and a third of them far to one side."""
    random = np.random.RandomState(1)
    starts = [2 * (at // 6) for at in range(24)], [2 * (at // 6) + 1 for at in range(24)]
    blocks = []
    for _ in range(8):
        good, slow = (base * np.exp(random.normal(0, 0.01, 24)) for base in (0.9, 1.0))
        slow = np.where(random.random_sample(24) < 0.35, 1.5 * slow, slow)
        blocks.append(pairs_of(good, slow, *starts))
    duets = Duets(tuple(blocks))
    search = bisect._Duets(*cast(Any, [*[None] * 4, 8, *[None] * 5]))
    step = search._step("1.1", [], duets, lambda one: search._decide(one, 0.03))
    assert step.word == "bad"
    assert step.ratio == pytest.approx(0.9, abs=0.01)
    assert step.ratio is not None
    assert duets.shifted(-0.2).estimate(0.05, 0.0).log == pytest.approx(math.log(step.ratio) - 0.2, abs=0.002)


def steps(blocks: int, *rounds: tuple[int, float, float]) -> bisect.Outcome:
    """An outcome whose first step is the ends'; a round: how many blocks, how slow B is, the scatter between them."""
    search = bisect._Duets(*cast(Any, [*[None] * 4, blocks, *[None] * 5]))
    starts = [0, 2, 4], [1, 3, 5]
    for number, (count, slowdown, scatter) in enumerate(rounds):
        random = np.random.RandomState(number)
        drawn = random.normal(0, scatter, count)
        logs = slowdown + drawn - drawn.mean()
        duets = Duets(tuple(pairs_of(np.ones(3), np.full(3, math.exp(log)), *starts) for log in logs))
        margin = 0.0 if number else 0.03
        shifted = duets.shifted(-search._middle)
        step = search._step(str(number), [], duets, partial(lambda found, _: found, search._decide(shifted, margin)))
        search.steps.append(step)
        if number == 0 and step.ratio is not None:
            search._middle = math.log(step.ratio) / 2
    first_bad = "9" if search.steps[0].word == "bad" else None
    return bisect.Outcome("toy", cast(Any, None), ["0", "9"], search.steps, first_bad, ["9"], Path())


def test_ends_that_the_blocks_do_not_tell_apart_are_not_called_level() -> None:
    found = steps(8, (8, 0.05, 0.08))
    assert found.unclear
    assert found.sentence().startswith(
        "toy 9 is not shown to differ from 0: 0.916× the good release's speed (0.859 to 1."
    )
    assert "more blocks would tell" in found.sentence()
    level = steps(8, (8, 0.0, 0.002))
    assert (level.unclear, level.steps[0].word) == (False, "good")
    assert "toy 9 is not slower than 0: 1.000×" in level.sentence()


def test_a_step_in_doubt_is_named_with_the_answer() -> None:
    found = steps(8, (8, 0.2, 0.002), (8, 0.11, 0.2))
    assert [(step.word, step.sure) for step in found.steps] == [("bad", True), ("good", False)]
    assert found.sentence().endswith("; not sure at 1: more --blocks would tell")


def test_the_last_block_of_a_bisection_is_looked_at() -> None:
    """With --blocks 20 the looks are at 8, 16 and 20: the last four tell here."""
    search = bisect._Duets(*cast(Any, [*[None] * 4, 20, *[None] * 5]))
    random = np.random.RandomState(5)
    level = np.array([*random.normal(-0.05, 0.08, 16), *random.normal(-0.05, 0.01, 4)])
    duets = Duets(tuple(pairs_of(np.ones(3), np.full(3, math.exp(-log)), [0, 2, 4], [1, 3, 5]) for log in level))
    assert search._decide(duets.first(16), 0.0).word == "inconclusive"
    assert search._decide(duets, 0.0).blocks == 20
    assert search._decide(duets, 0.0).word == "slower"


# --- wheels ----------------------------------------------------------------------------------------------------------


def wheel(folder: Path, version: str, cost: float, requires: str = "") -> None:
    """A release of the toy: pure Python, and NumPy by way of this interpreter's own packages."""
    folder.mkdir(exist_ok=True)
    facts = f"twinbench_toy-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        "twinbench_toy.py": f"COST = {cost}\n",
        "twinbench_toy.pth": f"{Path(np.__file__).parent.parent}\n",
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: twinbench-toy\nVersion: {version}\n{needs}",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{facts}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{facts}/RECORD"))
    with zipfile.ZipFile(folder / f"twinbench_toy-{version}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine releases, slower by a fifth from 1.5.0 on; 1.4.0 cannot be installed. No index is asked."""
    for minor in range(9):
        wheel(
            tmp_path / "wheels",
            f"1.{minor}.0",
            1.2 if minor >= 5 else 1.0,
            "no-such-distribution" if minor == 4 else "",
        )
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    return tmp_path / "wheels"


@pytest.fixture
def uv(releases: Path) -> Uv:
    """uv that sees those releases only."""
    return find_uv([str(releases)])


@pytest.fixture
def pinned(uv: Uv, tmp_path: Path) -> str:
    """An interpreter with the first release and nothing else."""
    return str(scratch.interpreter(uv, tmp_path / "pinned", ["twinbench-toy==1.0.0"], sys.executable))


class Installed(LocalWorker):
    """A worker in this process that costs what the toy that is installed in ``python`` says."""

    costs: dict[str, float] = {}

    def __init__(self, python: str, toy: ModuleType) -> None:
        super().__init__()
        if python not in self.costs:
            code = "import twinbench_toy; print(twinbench_toy.COST)"
            self.costs[python] = float(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)
        self._cost, self._toy = self.costs[python], toy

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """As ever, at that cost."""
        self._toy.COST = self._cost  # type: ignore[attr-defined]
        return super().call(stage, timeout_s, **arguments)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in an empty folder; workers are of this process, the environments are real."""
    toy = ModuleType("twinbench_toy")
    monkeypatch.setitem(sys.modules, "twinbench_toy", toy)

    def spawner(pythons: Mapping[str, str]) -> Callable[..., Worker]:
        def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
            return Installed(pythons[environment.name], toy)

        return spawn

    monkeypatch.setattr(setup, "spawner", spawner)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


def test_releases_are_listed_oldest_first(uv: Uv, pinned: str) -> None:
    listed = scratch.releases(uv, "twinbench-toy", "1.2", "1.6.0", pinned)
    assert listed == ["1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"]
    with pytest.raises(UsageError, match=r"twinbench-toy 1\.11\.0 \(--bad\) is not to be had"):
        scratch.releases(uv, "twinbench-toy", "1.2.0", "1.11.0", pinned)
    with pytest.raises(UsageError, match="takes the name of a distribution, got 'toy>1'"):
        scratch.releases(uv, "toy>1", "1", "2", pinned)


def test_an_environment_is_made_once_and_again_after_an_interruption(uv: Uv, tmp_path: Path) -> None:
    wanted = ["twinbench-toy==1.5.0"]
    python = scratch.interpreter(uv, tmp_path / "scratch", wanted, sys.executable)
    assert scratch.packages(uv, str(python)) == wanted
    assert scratch.is_made(uv, tmp_path / "scratch", wanted, sys.executable)
    (python.parent.parent / scratch.COMPLETE).unlink()
    assert not scratch.is_made(uv, tmp_path / "scratch", wanted, sys.executable)
    assert scratch.interpreter(uv, tmp_path / "scratch", wanted, sys.executable) == python
    with pytest.raises(NotMade, match="no-such-distribution"):
        scratch.interpreter(uv, tmp_path / "scratch", ["twinbench-toy==1.4.0"], sys.executable)


def test_the_first_bad_release_is_named(cli: Cli, releases: Path, pinned: str) -> None:
    """The whole way: releases of a folder of wheels, an environment each, duets; one release cannot be installed."""
    ends = ("--good", "1.0.0", "--bad", "1.8.0", "--find-links", str(releases))
    code, out, err = cli("bisect", *WORK, *ends, "--python", f"{ENVIRONMENT}={pinned}", "--scratch", "s")
    assert (code, err) == (1, "")
    text = " ".join(out.split())
    assert "first bad release is one of 1.4.0, 1.5.0" in text
    assert "cannot be installed" in text
    ends = ("--good", "1.0.0", "--bad", "1.3.0", "--find-links", str(releases))
    code, out, _ = cli("bisect", *WORK, *ends, "--python", f"{ENVIRONMENT}={pinned}", "--scratch", "s")
    assert code == 0
    assert "1.3.0 is not slower than 1.0.0" in " ".join(out.split())


def test_the_count_of_duets_and_the_size(cli: Cli, releases: Path, pinned: str) -> None:
    wheel(releases, "1.4.0", 1.0)
    ends = ("--good", "1.0.0", "--bad", "1.8.0", "--find-links", str(releases))
    code, out, _ = cli("bisect", *WORK, *ends, "--python", f"{ENVIRONMENT}={pinned}", "--scratch", "s")
    assert code == 1
    text = " ".join(out.split())
    assert "first bad release: twinbench-toy 1.5.0, 16.7% of the speed lost (4 duets for 9 releases)" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--good", "1.0.0", "--bad", "7.0.0"), "7.0.0 (--bad) is not to be had"),
        (("--good", "1.8.0", "--bad", "1.0.0"), "is not to be had"),
        (("--good", "1.0.0", "--bad", "1.0.0"), "there is nothing to halve"),
        (
            ("--good", "1.0.0", "--bad", "1.8.0", "--precision", "fp32,fp16"),
            "bisect takes one cell, the selection has 2",
        ),
        (("--good", "1.0.0", "--bad", "1.8.0", "--blocks", "2"), "--blocks must be at least 3, got 2"),
    ],
)
def test_wrong_words(cli: Cli, releases: Path, pinned: str, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = cli("bisect", *WORK, "--find-links", releases, "--python", f"{ENVIRONMENT}={pinned}", *arguments)
    assert code == 2
    assert said in " ".join(err.split())


def test_without_uv_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pip install uv"):
        find_uv()
