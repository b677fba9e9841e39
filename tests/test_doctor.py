"""``twinbench doctor``: evidence to send, a minute at most, and one environment never costs another."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench import doctor, options, run, setup
from bench.environments import Environment
from bench.member import Context, Spawn
from bench.plan import Selection
from bench.process import LocalWorker, Reply, Worker, WorkerTimeout
from tests.harness import Cli, command_line, no_processes


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, without worker processes."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    return command_line(monkeypatch, capsys)


def test_the_report_has_what_a_first_user_should_send(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("doctor", "--environment", "fake", "--json", "sent.json")
    assert code == 0, out
    sent = json.loads((tmp_path / "sent.json").read_text(encoding="utf-8"))
    assert {"twinbench", "machine", "power", "threads", "warnings", "notes", "meters", "took_s", "environments"} == set(
        sent
    )
    cpu, cuda = sent["environments"]
    assert cuda["device_name"] == "scripted cuda"
    assert set(cuda["probe"]) >= {"fence", "precisions", "device_memory"}
    assert cuda["probe"]["device_memory"]["device_memory"]["kind"] == "peak"
    assert "host's memory" in cpu["probe"]["device_memory"]["not_measured"]
    flat = " ".join(out.split())
    for word in ("scripted cuda", "peak: scripted", "not looked at", "bf16: bf16"):
        assert word in flat
    code, out, _ = cli("doctor", "--environment", "fake", "--json", "-")
    assert code == 0
    assert json.loads(out)["environments"], "nothing but JSON is printed"


def test_a_fake_fence_is_shouted(cli: Cli) -> None:
    _, out, _ = cli("doctor", "--environment", "fake-never-syncing")
    assert "DOES NOT WAIT" in out


class Broken:
    """A worker that ends or hangs as soon as it is asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def ahead(self, stage: str, **arguments: object) -> None:
        """Nothing."""

    def call(self, stage: str, timeout_s: float, **arguments: object) -> Reply:
        """It ends."""
        raise self.error

    def log_tail(self) -> str:
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("error", [WorkerTimeout("open did not answer within 9 s"), FileNotFoundError(2, "gone")])
def test_one_environment_that_fails_costs_no_other(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def spawner(pythons: Mapping[str, str]) -> Spawn:
        def spawn(environment: Environment, device: str, variables: Mapping[str, str]) -> Worker:
            if environment.name == "fake-slower":
                if isinstance(error, OSError):
                    raise error
                return Broken(error)
            return LocalWorker()

        return spawn

    monkeypatch.setattr(setup, "spawner", spawner)
    code, out, _ = cli("doctor", "--environment", "fake-slower,fake", "--json", "-")
    assert code == 4, "and the exit code says that something is wrong"
    found = {(one["environment"], one["device"]): one["problem"] for one in json.loads(out)["environments"]}
    assert found["fake", "cpu"] is None
    assert found["fake", "cuda"] is None
    assert found["fake-slower", "cpu"]


def test_the_minute_is_kept_and_what_it_did_not_suffice_for_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each look takes 4 of 10 s: two fit, and the third and fourth say how to be looked at."""
    no_processes(monkeypatch)
    now = [0.0]
    limits: list[float] = []
    real = run.look

    def slow(name: str, device: str, context: Context, precisions: tuple[str, ...]) -> run.Sight:
        limits.append(context.timeouts_s["open"])
        now[0] += 4.0
        return real(name, device, replace(context, timeouts_s=dict.fromkeys(context.timeouts_s, 60.0)), precisions)

    monkeypatch.setattr("bench.doctor.look", slow)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    asked = options.setup(Selection(environments=("fake", "fake-lazy")), [], "quick", None, None, 0, 1, None)
    found = doctor.examine(asked, limit_s=10.0)
    problems = [sight.problem for sight in found.sights]
    assert problems[:2] == [None, None]
    assert all("twinbench doctor --environment fake-lazy" in (problem or "") for problem in problems[2:])
    assert limits == [2.5, 2.0], "a fair share of what is left for each that is still to come"
    assert not found.healthy


def test_real_environments_fit_into_a_minute(
    cli: Cli, interpreters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time is asserted beyond the promise; a machine too busy for it says so of each environment it left out."""
    from bench.run import spawner

    monkeypatch.setattr(setup, "spawner", spawner)
    words = [f"--python={name}={path}" for name, path in interpreters.items()]
    began = time.monotonic()
    _, out, err = cli("doctor", *words, "--threads", "1", "--json", "-")
    assert time.monotonic() - began < 120, err
    report = json.loads(out)
    assert {one["environment"] for one in report["environments"]} >= set(interpreters)
    for one in report["environments"]:
        if one["problem"] is None:
            assert one["probe"]["precisions"]["fp32"] == "fp32"
        else:
            assert "not looked at" in one["problem"] or "did not answer within" in one["problem"]
