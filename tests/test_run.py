"""The whole path with the scripted framework: every saboteur gives its exact outcome and costs no other cell any."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import labels, plan, process, setup, store, timing, workload
from bench.cell import Cell
from bench.environments import FAKE_BEHAVIOURS
from bench.frameworks import base, fake
from bench.materials import Store
from bench.record import Failed, Measured, Record, TimedOut, Wrong
from tests.harness import Cli, command_line, no_processes, only_run, records_of

ROOT = Path(__file__).parent.parent
ONE_CELL = ("mlp:digits", "--phase", "inference", "--device", "cpu", "--precision", "fp16")
SMALL = ("--processes", "1", "--bursts", "3")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, in an empty folder with a cache of its own."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)


def by_environment(records: list[Record]) -> dict[str, Record]:
    """One record per environment."""
    assert len({r.cell.environment for r in records}) == len(records)
    return {r.cell.environment: r for r in records}


def test_every_saboteur_gives_its_exact_outcome_and_the_others_keep_theirs(cli: Cli, tmp_path: Path) -> None:
    """Real processes: a crash is a crash of a process, a hang is a process that must be killed."""
    # "packaged" is no saboteur: it wants a package, which tests/test_bisect.py installs.
    names = ["fake", *(f"fake-{behaviour}" for behaviour in FAKE_BEHAVIOURS if behaviour != "packaged")]
    environments = [word for name in names for word in ("--environment", name)]
    began = time.monotonic()
    code, out, _ = cli("run", *ONE_CELL, *SMALL, "--timeout", "10", *environments, "--results", "r")
    assert code == 4, out
    assert time.monotonic() - began < 300
    found = {name: (r.outcome, r.labels) for name, r in by_environment(records_of(only_run(tmp_path / "r"))).items()}
    assert set(found) == set(names)
    measured = {name for name, (outcome, _) in found.items() if isinstance(outcome, Measured)}
    failures = {"fake-wrong", "fake-nan", "fake-crash", "fake-hang", "fake-oom", "fake-misprecise", "fake-misdtyped"}
    assert measured == set(names) - failures

    wrong, nan, misprecise = (found[f"fake-{word}"][0] for word in ("wrong", "nan", "misprecise"))
    assert isinstance(wrong, Wrong)
    assert (wrong.check, round(wrong.error or 0, 2)) == ("outputs", 0.5)
    assert isinstance(nan, Wrong)
    assert (nan.check, nan.error) == ("outputs", None)
    assert "NaN" in nan.detail
    assert isinstance(misprecise, Wrong)
    assert misprecise.check == "effective-precision"
    assert "asked for fp16, a matrix product shows fp32" in misprecise.detail
    misdtyped = found["fake-misdtyped"][0]
    assert isinstance(misdtyped, Wrong)
    assert misdtyped.check == "effective-precision"
    assert "comes out as float32, not float16" in misdtyped.detail
    crash, oom = found["fake-crash"][0], found["fake-oom"][0]
    assert isinstance(crash, Failed)
    assert (crash.stage, crash.type) == ("first_call", "SIGSEGV")
    assert isinstance(oom, Failed)
    assert (oom.stage, oom.type) == ("first_call", "MemoryError")
    assert "Unable to allocate" in oom.message
    assert "MemoryError" in oom.log_tail
    assert found["fake-hang"][0] == TimedOut("first_call", 10.0)

    def has(name: str) -> set[str]:
        return set(found[name][1])

    assert not any(label.startswith(labels.IMPLAUSIBLE) for label in has("fake"))
    assert labels.FENCE_HOST_READ in has("fake-never-syncing")
    assert labels.NEVER_STEADY in has("fake-drifting")
    hot = has("fake-throttling")  # beside a neighbour, the same slow-down is put down to the neighbour
    assert labels.THROTTLED in hot or {labels.NOISY, labels.CONTENDED} <= hot
    assert labels.IMPLAUSIBLE_SCALING in has("fake-lazy")
    assert labels.IMPLAUSIBLE_ROOFLINE in has("fake-impossible")
    assert labels.IMPLAUSIBLE_ROOFLINE not in has("fake-crowded")
    assert not has("fake-shouting") - {labels.STABLE, labels.CONTENDED, labels.NOISY}
    for name in measured - {"fake-never-syncing"}:
        assert labels.FENCE_HOST_READ not in has(name)


def test_a_run_from_the_command_line_to_the_page_in_one_process(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_processes(monkeypatch)
    code, out, _ = cli("run", "mlp:tiny-test", "--environment", "fake", *SMALL, "--results", "r")
    assert code == 0, out
    records = records_of(only_run(tmp_path / "r"))
    assert len(records) == 2 * 3 * 2  # phases, precisions, devices
    assert {type(r.outcome) for r in records} == {Measured}
    assert "samples/s" in out
    code, out, _ = cli("report", "--results", "r", "--out", "page.html")
    assert code == 0, out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert "scripted cuda" in page
    code, out, _ = cli("report", "--results", "r", "--format", "markdown")
    assert code == 0
    assert "fake" in out


def test_throughput_of_a_barrier_that_never_waits_is_still_right(cli: Cli, tmp_path: Path) -> None:
    """Found, timed through host reads instead, and then the same as that of the framework which behaves."""
    environments = ("--environment", "fake", "--environment", "fake-never-syncing")
    assert cli("run", *ONE_CELL, *SMALL, *environments, "--results", "r")[0] == 0
    found = by_environment(records_of(only_run(tmp_path / "r")))

    def item_ns(record: Record) -> float:
        assert record.measurement is not None
        bursts = record.measurement.bursts
        return sum(bursts.wall_ns) / sum(bursts.iterations)

    assert item_ns(found["fake-never-syncing"]) == pytest.approx(item_ns(found["fake"]), rel=0.02)


def test_without_the_fence_test_it_would_be_wrong(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur of the check itself: trust every barrier, and the same run measures the enqueue."""
    no_processes(monkeypatch)
    real = timing.check_fence

    def trusting(*arguments: Any) -> timing.FenceTest:
        found = real(*arguments)
        return replace(found, kind="barrier")

    monkeypatch.setattr(timing, "check_fence", trusting)
    monkeypatch.setattr(base.Framework, "reads_back", False)
    cli("run", *ONE_CELL, *SMALL, "--environment", "fake-never-syncing", "--results", "r")
    (record,) = records_of(only_run(tmp_path / "r"))
    assert record.measurement is not None
    bursts = record.measurement.bursts
    assert sum(bursts.wall_ns) / sum(bursts.iterations) < 1.1 * fake.ENQUEUE_NS
    assert labels.IMPLAUSIBLE_FENCE in record.labels, "and the record still says that it cannot be true"


def test_the_workers_of_a_block_import_side_by_side(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told to open before the first is waited for; from then on only one of them works at a time."""
    told: list[str] = []
    names = itertools.count()

    class Telling(process.LocalWorker):
        def __init__(self) -> None:
            super().__init__()
            self.name = next(names)
            told.append(f"{self.name} starts")

        def ahead(self, stage: str, **arguments: object) -> None:
            told.append(f"{self.name} ahead {stage}")

        def call(self, stage: str, timeout_s: float, **arguments: object) -> process.Reply:
            told.append(f"{self.name} {stage}")
            return super().call(stage, timeout_s, **arguments)

    monkeypatch.setattr(setup, "spawner", lambda *_: lambda *_: Telling())
    one = ("--workload", "mlp:tiny-test", "--phase", "inference", "--bursts", "3", "--blocks", "8")
    cli("compare", "fake/cpu", "fake/cpu/fp16", *one, "--results", "r")
    begin = next(n for n, one in enumerate(told) if one.endswith("ahead open"))
    a, b = told[begin].split()[0], told[begin + 2].split()[0]
    assert a != b
    assert told[begin : begin + 8] == [
        f"{a} ahead open", f"{b} starts", f"{b} ahead open", f"{a} open", f"{b} open", f"{a} load", f"{a} first_call",
        f"{a} device_memory",
    ]  # fmt: skip


def test_a_stage_begun_ahead_is_what_the_next_call_waits_for() -> None:
    worker = process.ProcessWorker(sys.executable, dict(os.environ))
    try:
        arguments = {"framework": "fake", "environment": "fake", "device": "cpu", "threads": 1}
        worker.ahead("open", **arguments)
        assert worker.call("open", 60, **arguments)["ok"]["device_name"] == "scripted cpu"
        assert "ok" not in worker.call("first_call", 60), "nothing was loaded: this call was sent, and once only"
        worker.ahead("open", **arguments)
        with pytest.raises(AssertionError, match="open was begun, load is asked for"):
            worker.call("load", 60)
    finally:
        worker.close()


def test_a_worker_that_died_ahead_is_found_by_the_call() -> None:
    worker = process.ProcessWorker(sys.executable, dict(os.environ))
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    worker.ahead("open")
    with pytest.raises(process.WorkerDied, match="SIGKILL"):
        worker.call("open", 60)
    worker.close()


def test_what_a_worker_prints_is_only_a_log(tmp_path: Path) -> None:
    cell = Cell("mlp", "tiny-test", "inference", "default", 4, "fake-shouting", "cpu", "fp32", "eager")
    materials = Store(0, tmp_path).materials(workload.get("mlp"), cell)
    worker = process.ProcessWorker(sys.executable, dict(os.environ))
    try:
        opened = worker.call("open", 60, framework="fake", environment="fake-shouting", device="cpu", threads=1)
        assert opened["ok"]["device_name"] == "scripted cpu"
        files = {"weights": str(materials.weights), "inputs": str(materials.inputs)}
        assert "ok" in worker.call("load", 60, cell=cell.words(), **files)
        assert worker.call("first_call", 60)["ok"]["first_call_ns"] > 0
        shouted = worker.log_tail()
        assert '{"outcome": "measured"}\x00 not a message' in shouted
        assert "a warning on stderr" in shouted
    finally:
        worker.close()


def test_a_worker_that_ignores_terminate_is_killed() -> None:
    worker = process.ProcessWorker(sys.executable, dict(os.environ))
    worker.call("open", 60, framework="fake", environment="fake", device="cpu", threads=1)
    os.kill(worker.pid, signal.SIGSTOP)  # a stopped process answers nothing and does not end on SIGTERM
    began = time.monotonic()
    with pytest.raises(process.WorkerTimeout, match=r"finish did not answer within 0\.2 s"):
        worker.call("finish", 0.2)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_an_unknown_stage_is_a_failure_and_not_a_hang() -> None:
    worker = process.LocalWorker()
    reply = worker.call("no-such-stage", 1)
    assert reply["outcome"]["kind"] == "failed"


def _start(arguments: list[str], tmp_path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TWINBENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait_for(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_kill_9_of_the_parent_loses_the_record_in_flight_at_most_and_resume_goes_on(cli: Cli, tmp_path: Path) -> None:
    selection = ["run", "mlp:tiny-test", "--environment", "fake", "--device", "cpu", "--bursts", "3", "--results", "r"]
    parent = _start(selection, tmp_path)
    results = tmp_path / "r"

    def lines() -> int:
        return sum(
            len((run / store.RECORDS).read_bytes().splitlines())
            for run in store.runs(results)
            if (run / store.RECORDS).exists()
        )

    try:
        _wait_for(lambda: lines() >= 3)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    folder = only_run(results)
    kept = records_of(folder)
    assert 3 <= len(kept) < 18
    path = folder / store.RECORDS
    path.write_bytes(path.read_bytes() + b'{"schema": 1, "id": "cut off in the mid')
    code, out, err = cli("run", "--resume", "--results", "r")
    assert code == 0, out + err
    problems: list[str] = []
    records = list(store.read(folder, problems))
    assert records[: len(kept)] == kept
    assert len(records) == 2 * 3 * 3  # phases, precisions, processes
    assert len({(r.cell_id, r.process) for r in records}) == len(records), "nothing ran twice"
    assert len(problems) == 1
    code, out, _ = cli("run", "--resume", "--results", "r")
    assert code == 0
    assert len(list(store.read(folder, []))) == len(records), "a finished run has nothing to resume"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Tests that a shell began in the background ignore Ctrl-C, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    selection = ["run", "mlp:tiny-test", "--environment", "fake", "--device", "cpu", "--bursts", "3", "--results", "r"]
    environment = {**os.environ, "TWINBENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench", *selection]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as run:
        _wait_for(lambda: any((one / store.RECORDS).exists() for one in store.runs(tmp_path / "r")))
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    folder = only_run(tmp_path / "r")
    assert run.returncode == 130
    assert f"twinbench run --resume --run {folder.name} --results r" in " ".join(said.decode().split())
    assert b"Traceback" not in said
    assert len(records_of(folder)) < 18


def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    parent = _start(["run", *ONE_CELL, "--environment", "fake-hang", "--results", "r", "--timeout", "60"], tmp_path)
    import psutil

    def workers() -> list[psutil.Process]:
        return [
            p
            for p in psutil.process_iter(["cmdline"])
            if str(process.LAUNCH) in (p.info["cmdline"] or []) and p.ppid() in (parent.pid, 1)
        ]

    mine: list[psutil.Process] = []

    def hanging() -> bool:
        mine[:] = [p for p in workers() if p.ppid() == parent.pid]
        return bool(mine) and bool(store.runs(tmp_path / "r"))

    try:
        _wait_for(hanging)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in mine), 20)


def test_kill_9_of_a_worker_is_a_failure_of_that_cell_only(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = process.ProcessWorker.call
    killed: list[int] = []

    def call(self: process.ProcessWorker, stage: str, timeout_s: float, **arguments: object) -> process.Reply:
        if stage == "latency" and not killed:
            killed.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)
        return real(self, stage, timeout_s, **arguments)

    monkeypatch.setattr(process.ProcessWorker, "call", call)
    code, _, _ = cli("run", *ONE_CELL, "--precision", "fp32", *SMALL, "--environment", "fake", "--results", "r")
    assert code == 4
    outcomes = [r.outcome for r in records_of(only_run(tmp_path / "r"))]
    assert isinstance(outcomes[0], Failed)
    assert (outcomes[0].stage, outcomes[0].type) == ("latency", "SIGKILL")
    assert isinstance(outcomes[1], Measured)


def test_two_runs_at_once_in_one_results_folder_are_safe(tmp_path: Path) -> None:
    arguments = ["run", *ONE_CELL, *SMALL, "--environment", "fake", "--results", "r"]
    both = [_start(arguments, tmp_path) for _ in range(2)]
    assert [run.wait(120) for run in both] == [0, 0]
    runs = store.runs(tmp_path / "r")
    assert len(runs) == 2
    assert [len(records_of(run)) for run in runs] == [1, 1]


def test_a_cell_that_tries_our_patience_is_not_repeated(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_processes(monkeypatch)
    quick = plan.PROFILES["quick"]
    words = ("run", *ONE_CELL, "--environment", "fake", "--bursts", "3", "--results")
    for folder, patience_ns, expected in (("patient", None, 3), ("impatient", 0, 1)):
        monkeypatch.setitem(plan.PROFILES, "quick", replace(quick, patience_ns=patience_ns))
        assert cli(*words, folder)[0] == 0
        assert len(records_of(only_run(tmp_path / folder))) == expected


def test_slow_bursts_end_early_but_never_below_three(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_processes(monkeypatch)
    quick = plan.PROFILES["quick"]
    words = ("run", *ONE_CELL, "--environment", "fake", "--processes", "1", "--results")
    # 50 ms a burst on the virtual clock.
    for folder, bursts_ns, expected in (("long", 10**12, 10), ("short", 220_000_000, 5), ("none", 0, 3)):
        monkeypatch.setitem(plan.PROFILES, "quick", replace(quick, bursts_ns=bursts_ns))
        assert cli(*words, folder)[0] == 0
        (record,) = records_of(only_run(tmp_path / folder))
        assert record.measurement is not None
        assert len(record.measurement.bursts.wall_ns) == expected


def test_a_run_leaves_what_is_needed_to_judge_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_processes(monkeypatch)
    cli("run", *ONE_CELL, *SMALL, "--environment", "fake", "--results", "r", "--seed", "3")
    folder = only_run(tmp_path / "r")
    (record,) = records_of(folder)
    fingerprint, measurement = record.fingerprint, record.measurement
    assert fingerprint.seed == 3
    assert len(fingerprint.weights_sha256 or "") == len(fingerprint.inputs_sha256 or "") == 64
    assert set(fingerprint.versions) >= {"python", "numpy", "twinbench"}
    assert fingerprint.variables["OMP_NUM_THREADS"] == str(fingerprint.threads)
    assert measurement is not None
    assert len(measurement.bursts.wall_ns) == len(measurement.bursts.foreign_cpu_ns) == 3
    assert all(wall >= 50_000_000 * 0.9 for wall in measurement.bursts.wall_ns)
    assert record.verification is not None
    assert record.verification.producer == "NumPy float64"
    facts = json.loads((folder / store.RUN).read_text())
    assert facts["setup"]["selection"]["environments"] == ["fake"]
