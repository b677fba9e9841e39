"""The clock sentinel: throttling is found and named, a neighbour or a drifting program is not taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import labels, sentinel
from bench.record import Measurement, Sentinel
from bench.summary import process_sample
from tests.harness import Cli, command_line, no_processes, only_run, records_of
from tests.samples import MS, bursts, measurement, record

BURSTS = 10


def watched(readings_ms: list[float], policy: str = "annotate", **facts: Any) -> Measurement:
    """A process whose sentinel was read before the first burst and after each."""
    wall_ns = [int(ms * MS) for ms in readings_ms]
    defaults: dict[str, Any] = {"bursts": bursts([50 * MS] * (len(wall_ns) - 1))}
    watch = Sentinel(256, 8, list(range(len(wall_ns))), wall_ns, policy)
    return measurement(**(defaults | facts), sentinel=watch)


def test_a_steady_clock_says_nothing() -> None:
    steady = watched([2.0, 2.01, 1.99, 2.02, 2.0, 2.01, 2.0, 1.98, 2.0, 2.01, 2.0])
    assert sentinel.drifted(steady) == [False] * BURSTS
    assert labels.labels_of(steady) == ["stable"]


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_a_step_of_five_percent_is_drift_up_or_down(factor: float) -> None:
    stepped = watched([2.0] * 5 + [2.0 * factor] * 6)
    assert sentinel.drifted(stepped) == [False] * 4 + [True] * 6
    assert "clock-drift" in labels.labels_of(stepped)


def test_a_slow_slide_is_drift() -> None:
    sliding = watched([2.0 * 1.01**index for index in range(11)])
    assert sum(sentinel.drifted(sliding)) == 7, "all that are more than 3 % above the first ones"
    assert "clock-drift" in labels.labels_of(sliding)


def test_one_burst_of_ten_is_annotated_but_the_process_is_not() -> None:
    once = watched([2.0] * 10 + [2.2])
    assert sentinel.drifted(once) == [False] * 9 + [True]
    assert "clock-drift" not in labels.labels_of(once)


def test_a_neighbour_is_not_called_a_clock() -> None:
    beside = watched([2.0] * 5 + [2.6] * 6, bursts=bursts([50 * MS] * BURSTS, foreign_ns=[30 * MS] * BURSTS))
    assert sentinel.drifted(beside) == [False] * BURSTS
    found = labels.labels_of(beside)
    assert "contended" in found
    assert "clock-drift" not in found


def test_a_noisy_machine_is_not_shouted_about() -> None:
    """Readings that scatter by several per cent: what is usual between neighbours is no drift."""
    random = np.random.RandomState(3)
    said = 0
    for _ in range(200):
        said += sentinel.has_drifted(watched(list(2.0 * (1 + 0.03 * random.standard_normal(11)))))
    assert said <= 10
    stepped = [
        sentinel.has_drifted(
            watched([*(2 + 0.02 * random.standard_normal(6)), *(2.6 + 0.02 * random.standard_normal(5))])
        )
        for _ in range(200)
    ]
    assert sum(stepped) >= 198


def test_records_without_a_sentinel_prove_nothing() -> None:
    assert sentinel.drifted(measurement()) == [False] * BURSTS
    assert sentinel.kept(measurement()) == list(range(BURSTS))


def test_discarding_leaves_the_median_to_the_steady_bursts() -> None:
    slow = bursts([50 * MS] * 4 + [75 * MS] * 6)
    readings = [2.0] * 5 + [3.0] * 6
    kept = process_sample(record(measured=watched(readings, bursts=slow))).rate
    without = process_sample(record(measured=watched(readings, "discard", bursts=slow))).rate
    assert kept is not None
    assert without == pytest.approx(kept * 1.5)


def test_discarding_never_goes_below_three_bursts() -> None:
    mostly = watched([2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0], "discard")
    assert sum(not away for away in sentinel.drifted(mostly)) == 2
    assert sentinel.kept(mostly) == list(range(6))


def test_readings_take_a_tenth_of_the_bursts_but_never_stay_away() -> None:
    assert not sentinel.is_due([], 1)
    assert sentinel.is_due([50 * MS], 5 * MS)
    assert not sentinel.is_due([50 * MS], 6 * MS)
    assert sentinel.is_due([50 * MS, 50 * MS], 6 * MS)
    assert sentinel.is_due([MS] * sentinel.LATEST_AFTER, 10**12)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, without worker processes."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    # Neighbours of this machine are no part of these tests.
    monkeypatch.setattr("bench.machine.cpu_busy_ns", lambda: 0)
    return command_line(monkeypatch, capsys)


ONE = ("mlp:digits", "--phase", "inference", "--device", "cpu", "--precision", "fp16", "--processes", "1")


def test_the_saboteur_that_throttles_is_found_and_the_one_that_drifts_is_not_blamed_on_the_clock(
    cli: Cli, tmp_path: Path
) -> None:
    names = ("fake", "fake-throttling", "fake-drifting")
    environments = [word for name in names for word in ("--environment", name)]
    cli("run", *ONE, "--bursts", "6", *environments, "--results", "r")
    found = {one.cell.environment: one for one in records_of(only_run(tmp_path / "r"))}
    assert "clock-drift" in found["fake-throttling"].labels
    assert "clock-drift" not in found["fake"].labels
    assert "clock-drift" not in found["fake-drifting"].labels, "its product is as fast as ever: its own work grows"
    assert labels.NEVER_STEADY in found["fake-drifting"].labels
    cli("report", "--results", "r", "--out", "page.html")
    assert "clock-drift" in (tmp_path / "page.html").read_text()


def test_discarding_the_bursts_of_a_throttling_machine_gives_its_cool_speed(cli: Cli, tmp_path: Path) -> None:
    rates = {}
    for drift in ("annotate", "discard"):
        cli("run", *ONE, "--bursts", "10", "--environment", "fake-throttling", "--drift", drift, "--results", drift)
        (one,) = records_of(only_run(tmp_path / drift))
        assert one.measurement is not None
        assert len(one.measurement.bursts.wall_ns) == 10, "the record keeps every burst"
        rates[drift] = process_sample(one).rate
    assert rates["annotate"] is not None
    assert rates["discard"] is not None
    assert one.measurement is not None
    drifted = sentinel.drifted(one.measurement)
    assert any(drifted)
    if drifted.count(False) >= sentinel.FEWEST_BURSTS:
        assert rates["discard"] > 1.3 * rates["annotate"]
    else:
        assert rates["discard"] == pytest.approx(rates["annotate"], rel=0.02)


def test_an_unknown_policy_is_named(cli: Cli) -> None:
    code, _, err = cli("run", *ONE, "--environment", "fake", "--drift", "discrad")
    assert code == 2
    assert "did you mean 'discard'" in " ".join(err.split())
