"""``twinbench selftest``: the command, its JSON, recordings that cannot be used, and what --live leaves behind."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import affinity, comparing, history_rates, live, machine, night_rates, rate_words, selftest, setup
from bench.environments import EXTRA_WORK, Environment
from bench.errors import Interrupted, UsageError
from bench.process import LocalWorker, Worker
from bench.rates import RECORDED, Rate, Trials
from bench.recordings import read
from bench.report import error_rates
from bench.timing import extra_work
from benchmarks import record_noise
from tests.harness import Cli, command_line, no_processes


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    return command_line(monkeypatch, capsys)


def small(path: Path, processes: int = 12, blocks: int = 12) -> Path:
    """A recording of a quiet machine, both kinds of line in one file."""
    random = np.random.RandomState(0)

    def times(factor: float, count: int = 6) -> list[int]:
        return [int(1e6 * factor * part) for part in random.normal(1, 0.01, count)]

    lines: list[dict[str, Any]] = [{"v": times(1.0, 20)} for _ in range(processes)]
    for _ in range(blocks):
        sides = {"A": 1.0, "A2": 1.0, "B5": 1.0508, "B10": 1.0996}
        lines.append({"rec": {s: [[times(factor), times(factor)] for _ in range(4)] for s, factor in sides.items()}})
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def test_the_command_prints_and_writes_every_rate_with_its_interval(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("KINDS", history_rates.KINDS[:1]), ("COUNT", 10), ("STEPS", ((0.10, 0.9),))):
        monkeypatch.setattr(history_rates, name, value)  # many nights take minutes
    code, out, err = cli("selftest", "--noise", small(tmp_path / "quiet.jsonl.gz"), "--trials", "15", "--results", "r")
    assert code == 0, out + err
    assert "+10.0% found (recorded)" in out
    made = json.loads((tmp_path / "r" / "selftest.json").read_text())
    assert (made["schema"], made["trials"], made["live"]) == (1, 15, None)
    assert made["recordings"][0]["blocks"] == 12
    assert made["not_measured"] == {}
    for row in made["rates"]:
        assert row["hits"] <= row["trials"]
        assert row["low"] <= row["rate"] <= row["high"]
    kinds = {(row["rule"], row["origin"]) for row in made["rates"]}
    assert {("twinbench", "recorded"), ("twinbench", "injected"), ("twinbench", "simulated")} <= kinds
    assert ("criterion", "injected") not in kinds, "twelve processes are no two runs of five seconds"
    assert ("asv", "injected") in kinds
    assert ("twinbench nightly", "simulated") in kinds
    panel = error_rates.read([tmp_path / "r" / "a run"], [])
    assert panel is not None
    assert sum(len(table.rows) for table in panel.tables) == len(made["rates"]), "the page has them all"
    assert all(str(round(100 * row["rate"], 1)) in out for row in made["rates"])


def test_a_rate_that_misses_its_demand_is_exit_1() -> None:
    bad = Rate("twinbench", "x", "flagged", 0.0, "identical", 20, 30, 100, demand=(0.0, 0.05))
    good = Rate("twinbench", "x", "slower", 0.1, "recorded", 20, 95, 100, demand=(0.9, 1.0))
    found = selftest.Selftest(100, 0, [], [bad, good])
    assert found.failures == [bad]
    low, high = bad.bounds
    assert low == pytest.approx(0.219, abs=0.002)
    assert high == pytest.approx(0.396, abs=0.002)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no process and no block in it"),
        ('{"v": [1, 2]}\n{"w": 3}', "line 2: KeyError: 'v'"),
        ('{"v": [1, 0]}', "line 1: ValueError: v must be one or more positive times"),
        ("{", "line 1: JSONDecodeError"),
        ('{"rec": {"A": [[[1], [1]]]}}', "line 1: ValueError: a block needs the side 'A' and another"),
        ('{"rec": {"A": [[[1, 2], [1]]], "A2": [[[1], [1]]]}}', "different numbers of wall and CPU times"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "noise.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read(path)
    assert message in str(error.value)
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "gone")


@pytest.mark.parametrize("options", [(), ("--load", "1", "--one-core")])
def test_a_recording_of_this_machine_can_be_replayed(tmp_path: Path, options: tuple[str, ...]) -> None:
    if "--one-core" in options and not affinity.usable_cpus():
        pytest.skip("this system keeps no process on a core")
    path = tmp_path / "here.jsonl.gz"
    record_noise.main([str(path), "--blocks", "1", "--processes", "1", *options])
    (noise,) = read(path)
    assert (len(noise.blocks), noise.sides(), len(noise.processes)) == (1, ["A2", "B5", "B10"], 1)
    assert all(turns.came.size == 60 for turns in noise.blocks[0].values())
    assert {record_noise.ROWS[side] / 512 - 1 for side in RECORDED} == set(RECORDED.values())


def test_extra_work_is_the_share_that_was_asked_for() -> None:
    calls: list[int] = []
    step = extra_work(lambda: calls.append(1), 0.1)
    for _ in range(1000):
        step()
    assert len(calls) == 1100


class InPlace(LocalWorker):
    """A worker without a process that sees its own variables while it is asked."""

    def __init__(self, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._extra, self._patch = variables.get(EXTRA_WORK, "0"), monkeypatch

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """See Worker.call."""
        with self._patch.context() as patch:
            patch.setenv(EXTRA_WORK, self._extra)
            return super().call(stage, timeout_s, **arguments)


def test_live_finds_its_own_slow_down_and_leaves_a_floor(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawner(pythons: Mapping[str, str]) -> Any:
        def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
            return InPlace(variables, monkeypatch)

        return spawn

    monkeypatch.setattr(setup, "spawner", spawner)
    monkeypatch.setattr(selftest, "_all", lambda recordings, trials: iter((RATE,)))
    one = ("--environment", "fake", "-w", "mlp:tiny-test", "--bursts", "3", "--blocks", "8", "--results", "r")
    real, calls = comparing.live, []

    def pressed(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise Interrupted("interrupted")
        return real(*arguments)

    monkeypatch.setattr(comparing, "live", pressed)
    code, out, err = cli("selftest", "--live", "--trials", "1", *one)
    assert code == 130
    assert "go on with --live --resume" in " ".join(err.split())
    assert "replaying x" in out, "progress"
    half = json.loads((tmp_path / "r" / "selftest.json").read_text())
    assert len(half["rates"]) == 1, "the replay is kept"
    assert [verdict["slowdown"] for verdict in half["live"]["verdicts"]] == [0.0]
    code, _, err = cli("selftest", "--live", "--resume", *one, "--blocks", "16")
    assert code == 2
    assert "of something else: blocks 8 against 16" in " ".join(err.split())
    code, out, err = cli("selftest", "--live", "--resume", "--trials", "1", *one)
    assert code == 0, out + err
    assert len(calls) == 3, "the first verdict is not measured again"
    made = json.loads((tmp_path / "r" / "selftest.json").read_text())["live"]
    words = {verdict["slowdown"]: verdict["word"] for verdict in made["verdicts"]}
    assert words == {0.0: "same", live.SLOWDOWN: "slower"}
    assert made["verdicts"][1]["ratio"] == pytest.approx(1 / 1.1, abs=0.01)
    assert made["floors"] == selftest.floors_here(tmp_path / "r")
    assert set(made["floors"]) == {"wall", "cpu"}
    assert [rate["holds"] for rate in made["rates"]] == [True, True]
    cli("selftest", "--trials", "1", "--results", "r")
    assert json.loads((tmp_path / "r" / "selftest.json").read_text())["live"] == made, "a replay keeps it"


def test_the_floor_of_another_machine_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / rate_words.FILE
    path.write_text(json.dumps({"schema": 1, "live": {"host": "another", "floors": {"wall": 0.5}}}))
    assert selftest.floors_here(tmp_path) == {}
    monkeypatch.setattr(machine, "facts", lambda: {"host": "another"})
    assert selftest.floors_here(tmp_path) == {"wall": 0.5}
    path.write_text("{")
    assert selftest.floors_here(tmp_path) == {}


RATE = Rate("twinbench", "x", "slower", 0.1, "recorded", 20, 95, 100, demand=(0.9, 1.0))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--environment", "torhc"), "did you mean 'torch'"),
        (("--environment", "fake", "--blocks", "4"), "--blocks must be at least 8"),
        (("--environment", "fake", "-w", "mpl"), "did you mean 'mlp'"),
        (("--environment", "fake", "--phase", "trainig"), "did you mean 'training'"),
    ],
)
def test_words_of_live_are_refused_before_the_replay(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    def replay(*_: Any) -> None:
        raise AssertionError("minutes were spent")

    monkeypatch.setattr(selftest, "replay", replay)
    code, _, err = cli("selftest", "--live", *words)
    assert code == 2
    assert said in " ".join(err.split())


@pytest.mark.parametrize("floor", ["null", '"x"', "-1", "1e999", "NaN", "true", "[]"])
def test_a_damaged_floor_is_none_and_said(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: str
) -> None:
    no_processes(monkeypatch)
    host = json.dumps(machine.facts()["host"])
    (tmp_path / "r").mkdir()
    path = tmp_path / "r" / rate_words.FILE
    path.write_text(f'{{"schema": 1, "live": {{"host": {host}, "floors": {{"wall": {floor}, "cpu": 0.04}}}}}}')
    assert selftest.floors_here(tmp_path / "r") == {"cpu": 0.04}
    one = ("-w", "mlp:tiny-test", "--phase", "inference", "--bursts", "2", "--blocks", "8", "--results", "r")
    if floor in ("null", "1e999"):  # the others take the same way
        code, out, err = cli("compare", "fake", "fake", *one)
        assert (code, err) == (0, ""), out
        assert "live.floors.wall is" in out
        assert "no number from 0: no floor" in out


def test_the_rates_of_nights_come_from_the_history(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the module that knows nights; more series than it can make in minutes are not asked for."""
    asked: list[int] = []

    def alarms(nights: Any, series: int, count: int, seed: int) -> night_rates.AlarmRate:
        asked.append(series)
        return night_rates.AlarmRate(series, count, 3, 5, 0.0)

    found_after = night_rates.Finding(0.05, (1, 5, 6, None))
    monkeypatch.setattr(night_rates, "alarms_per_100_nights", alarms)
    monkeypatch.setattr(night_rates, "nights_to_find", lambda *_, **__: found_after)
    quiet, step, *rest = history_rates.rates(Trials(4))
    assert [(rate.what, rate.hits, rate.trials, rate.holds) for rate in (quiet, step)] == [
        ("alarmed", 3, 4, False),
        ("found in time", 2, 4, True),  # four trials cannot say otherwise
    ]
    assert (quiet.aside, step.aside) == (("alarms per 100 nights", 1.25), ("median nights to find it", 5.5))
    assert len(rest) == 7
    assert "within 5 nights; median nights to find it: 5.5" in rate_words.sentence(step)
    list(history_rates.rates(Trials(10_000)))
    assert asked[-1] == history_rates.MOST_SERIES
    never = replace(step, aside=("median nights to find it", math.inf))
    assert rate_words.row(never)["aside"] == ["median nights to find it", None]


def test_an_installation_without_recordings_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selftest, "OWN_NOISE", tmp_path)
    monkeypatch.setattr(selftest, "_all", lambda recordings, trials: iter(()))
    found = selftest.replay([], Trials(1), lambda rate: None)
    assert "give some with --noise" in found.not_measured["recordings"]
