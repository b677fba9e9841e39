"""Exports, each proven by the program that reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from tests.harness import Cli, command_line, no_processes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line, after one run of good, wrong and unsupported cells."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    run = command_line(monkeypatch, capsys)
    selection = ("mlp:tiny-test", "--environment", "fake,fake-wrong", "--device", "cpu", "--mode", "eager,compiled")
    assert run("run", *selection, "--processes", "2", "--bursts", "4", "--results", "r")[0] == 4
    return run


def test_pytest_benchmark_itself_compares_an_export(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("export", "out.json", "--results", "r")
    assert code == 0
    assert out.startswith("6 benchmarks")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "out.json", "--columns", "min,median,rounds"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlp:tiny-test inference b4 fake/cpu fp16 eager" in done.stdout
    assert "fake-wrong" not in done.stdout
    (one,) = (
        bench
        for bench in json.loads((tmp_path / "out.json").read_text())["benchmarks"]
        if bench["name"] == "mlp:tiny-test inference b4 fake/cpu fp16 eager"
    )
    assert one["stats"]["rounds"] == 2 * 4
    assert one["stats"]["median"] == pytest.approx(204e-6, rel=0.05), "seconds an iteration of the scripted device"


def test_csv_has_every_cell_and_no_speed_where_there_is_none(cli: Cli, tmp_path: Path) -> None:
    code, _, _ = cli("export", "out.csv", "--format", "csv", "--results", "r")
    assert code == 0
    table = pandas.read_csv(tmp_path / "out.csv")
    assert len(table) == 2 * 2 * 3 * 2  # environments, modes, precisions, phases
    measured = table[table.outcome == "measured"]
    assert set(measured.environment) == {"fake"}
    assert measured.items_per_s.notna().all()
    assert table[table.outcome != "measured"].items_per_s.isna().all()
    assert set(table.outcome) == {"measured", "wrong", "unsupported"}


def test_an_unknown_format_names_the_valid_ones(cli: Cli) -> None:
    code, _, err = cli("export", "out", "--format", "xml", "--results", "r")
    assert code == 2
    assert "unknown format 'xml'" in err


def _pytest(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "bench.pytest_plugin", "-p", "no:cacheprovider", "-rs", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=_environment(tmp_path))


def _environment(tmp_path: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "TWINBENCH_CACHE": str(tmp_path / "cache")}


def test_the_cells_as_pytest_benchmark_tests(tmp_path: Path) -> None:
    selection = ("--twinbench", "mlp:tiny-test", "--environment", "fake,fake-wrong,fake-crash", "--device", "cpu")
    one = ("--precision", "fp32", "--phase", "inference", "--mode", "eager,compiled")
    done = _pytest(tmp_path, *selection, *one, "--benchmark-json", "out.json")
    assert "1 passed" in done.stdout, done.stdout
    assert "2 failed" in done.stdout
    assert "3 skipped" in done.stdout
    assert "there is nothing to compile" in done.stdout
    (bench,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert bench["stats"]["median"] == pytest.approx(204e-6, rel=0.05), "the worker's clock, not this process's"
    assert bench["extra_info"]["error"] == 0
    compare = [sys.executable, "-m", "pytest_benchmark", "compare", "out.json"]
    assert subprocess.run(compare, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_wrong_word_in_pytest_is_a_usage_error(tmp_path: Path) -> None:
    done = _pytest(tmp_path, "--twinbench", "mlp:digit", "--environment", "fake")
    assert done.returncode == 4
    assert "did you mean 'digits'" in done.stderr


UNUSABLE = [("--batch", "x"), ("--batch", "0"), ("--seed", "-1"), ("--seed", "4294967296"), ("--seed", "x")]


@pytest.mark.parametrize(("option", "word"), UNUSABLE)
def test_a_number_that_cannot_be_used_in_pytest_is_a_usage_error(tmp_path: Path, option: str, word: str) -> None:
    done = _pytest(tmp_path, "--twinbench", "mlp:tiny-test", "--environment", "fake", f"{option}={word}")
    assert done.returncode == 4, done.stdout
    assert f"{option} wants a whole number from" in done.stderr
    assert "Traceback" not in done.stderr


ONE_DIGITS = ("--twinbench", "mlp:digits", "--device", "cpu", "--precision", "fp32", "--phase", "inference")


def test_an_implausible_cell_fails_in_pytest_and_is_not_saved(tmp_path: Path) -> None:
    done = _pytest(tmp_path, *ONE_DIGITS, "--environment", "fake,fake-impossible", "--benchmark-json", "out.json")
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "implausible:roofline" in done.stdout
    (bench,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert "fake-impossible" not in bench["name"]


KILLER = """
import os, signal
from bench.process import ProcessWorker

real = ProcessWorker.call

def call(self, stage, timeout_s, **arguments):
    if stage == os.environ["KILL_IN"]:
        os.kill(self.pid, signal.SIGKILL)
    return real(self, stage, timeout_s, **arguments)

ProcessWorker.call = call
"""


@pytest.mark.parametrize("stage", ["burst", "latency"])
def test_a_worker_that_dies_while_measured_fails_in_pytest_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    monkeypatch.setenv("KILL_IN", stage)
    done = _pytest(tmp_path, "-p", "killer", *ONE_DIGITS, "--environment", "fake", "--benchmark-json", "out.json")
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert f"{stage}: SIGKILL: the worker was ended by SIGKILL" in done.stdout
    assert "Ended" not in done.stdout
    saved = tmp_path / "out.json"
    assert not saved.exists() or not saved.read_text() or json.loads(saved.read_text())["benchmarks"] == []
