"""Both sides of a comparison on one thread stay on one core, and their bursts take turns one by one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from bench import affinity, store
from bench.process import ProcessWorker
from bench.record import Record
from bench.recordings import read
from tests.harness import Cli, command_line, only_run, records_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process on a core")

#: Two threads, and a third one when a line comes in.
THREADS = """
import threading, time
sleep = lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
sleep()
print("ready", flush=True)
input()
sleep()
print("ready", flush=True)
input()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def cpus_of(pid: int) -> list[set[int]]:
    """Where each thread may run."""
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


@linux
def test_every_thread_stays_and_new_ones_do_too(process: subprocess.Popen[str]) -> None:
    cpu = affinity.usable_cpus()[-1]
    assert affinity.stay_on(process.pid, cpu)
    assert cpus_of(process.pid) == [{cpu}] * 2
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    process.stdout.readline()
    assert cpus_of(process.pid) == [{cpu}] * 3


@linux
def test_a_refusal_leaves_the_worker_where_it_is(
    process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, cpus: set[int]) -> None:
        raise PermissionError(1, "not permitted")

    before = cpus_of(process.pid)
    monkeypatch.setattr(os, "sched_setaffinity", refused)
    assert not affinity.stay_on(process.pid, affinity.usable_cpus()[0])
    assert cpus_of(process.pid) == before


@linux
def test_a_process_that_is_gone_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not affinity.stay_on(child.pid, affinity.usable_cpus()[0])


def test_a_mac_has_nothing_to_offer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert affinity.usable_cpus() == []
    assert not affinity.stay_on(os.getpid(), 0)


def test_slow_kinds_of_core_are_left_out(tmp_path: Path) -> None:
    assert affinity.fastest([0, 1, 2], tmp_path) == [0, 1, 2], "nothing is said"
    for cpu, capacity in ((0, "446"), (1, "1024"), (2, "1024")):
        place = tmp_path / "system" / "cpu" / f"cpu{cpu}"
        place.mkdir(parents=True)
        (place / "cpu_capacity").write_text(f"{capacity}\n")
    assert affinity.fastest([0, 1, 2], tmp_path) == [1, 2], "Arm, synthetic"
    (tmp_path / "cpu_core").mkdir()
    (tmp_path / "cpu_core" / "cpus").write_text("0-1,4\n")
    assert affinity.fastest([0, 2, 4, 5], tmp_path) == [0, 4], "Intel, synthetic"
    assert affinity.fastest([2, 3], tmp_path) == [2, 3], "only slow ones are left to this process"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    return command_line(monkeypatch, capsys)


@pytest.fixture
def bursts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the process id of each burst, in the order in which the parent asked for them."""
    asked: list[int] = []
    real = ProcessWorker.call

    def call(worker: ProcessWorker, stage: str, timeout_s: float, **arguments: Any) -> Any:
        if stage == "burst":
            asked.append(worker.pid)
        return real(worker, stage, timeout_s, **arguments)

    monkeypatch.setattr(ProcessWorker, "call", call)
    return asked


def compared(cli: Cli, results: Path, threads: int) -> list[list[Record]]:
    """The scripted framework against itself, in processes of their own: the two records of each block."""
    code, out, err = cli(
        "compare", "fake", "fake", "-w", "mlp:tiny-test", "--phase", "inference", "--blocks", "8", "--margin", "0.0001",
        "--threads", str(threads), "--results", results,
    )  # fmt: skip
    assert code in (0, 1), out + err
    records = records_of(only_run(results))
    blocks = {record.block: [one for one in records if one.block == record.block] for record in records}
    return list(blocks.values())


def longest_stretch(bursts: Sequence[int]) -> int:
    """Most bursts of one process in a row."""
    return max(len(list(stretch)) for _, stretch in groupby(bursts))


@linux
def test_one_thread_one_core_burst_by_burst(cli: Cli, tmp_path: Path, bursts: list[int]) -> None:
    blocks = compared(cli, tmp_path / "one", 1)
    for sides in blocks:
        cpus = {side.fingerprint.cpu for side in sides}
        assert len(cpus) == 1, "both on the same"
        assert cpus <= set(affinity.usable_cpus())
    assert len(bursts) >= 2 * 6 * 8
    assert longest_stretch(bursts) <= 2, "a new turn may begin with the side that had the last burst"
    (noise,) = read(tmp_path / "one")
    assert (len(noise.blocks), noise.sides(), noise.processes) == (len(blocks), ["A2"], ())
    assert noise.duets("A2", "wall").blocks == len(blocks)
    assert read(only_run(tmp_path / "one"))[0].sha256 == noise.sha256


@linux
def test_several_threads_go_where_the_system_puts_them(cli: Cli, tmp_path: Path, bursts: list[int]) -> None:
    blocks = compared(cli, tmp_path / "two", 2)
    assert {side.fingerprint.cpu for sides in blocks for side in sides} == {None}
    assert longest_stretch(bursts) >= 6, "turns of several bursts, with a pause between"


def test_runs_without_a_comparison_of_equals_are_no_recording(cli: Cli, tmp_path: Path) -> None:
    one = ("--environment", "fake", "--phase", "inference", "--precision", "fp32", "--processes", "1", "--bursts", "3")
    cli("run", "mlp:tiny-test", *one, "--results", tmp_path / "plain")
    assert store.runs(tmp_path / "plain")
    code, _, err = cli("selftest", "--noise", tmp_path / "plain", "--trials", "1")
    assert code == 2
    assert "has compared a cell with itself" in " ".join(err.split())
