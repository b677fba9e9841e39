"""What speaks against measuring now: each finding alone, nothing on a quiet machine, and --strict refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import machine, preflight
from bench.machine import linux, macos
from tests.harness import command_line, no_processes

FACTS = {"usable_cores": 8.0, "memory_bytes": 16 * 2**30}
QUIET = {"ac": True, "low_power_mode": False, "thermal_state": "nominal", "load_1min": 0.4, "swap_used_bytes": 0}


def test_a_quiet_machine_and_an_unknown_one_warn_of_nothing() -> None:
    assert preflight.check(FACTS, QUIET) == preflight.Preflight((), ())
    assert preflight.check({}, {}) == preflight.Preflight((), ())


@pytest.mark.parametrize(
    ("power", "said"),
    [
        ({"ac": False}, "battery"),
        ({"low_power_mode": True}, "Low Power Mode"),
        ({"thermal_state": "serious"}, "thermal state is serious"),
        ({"thermal_pressure": 87}, "87 % of its speed"),
        ({"load_1min": 2.5}, "load of 2.5 on 8 cores"),
        ({"swap_used_bytes": 2 * 2**30}, "2.0 GiB are swapped out"),
    ],
)
def test_each_finding_warns_alone(power: dict[str, Any], said: str) -> None:
    (warning,) = preflight.check(FACTS, QUIET | power).warnings
    assert said in warning


def test_notes_never_refuse() -> None:
    found = preflight.check(FACTS | {"virtualised": True, "displays": 2}, QUIET | {"governor": "powersave"})
    assert found.warnings == ()
    assert [note.split()[0] for note in found.notes] == ["this", "the", "the"]
    assert "2 displays" in found.notes[2]


def test_strict_refuses_before_anything_is_begun_and_without_it_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    cli = command_line(monkeypatch, capsys)
    one = ("run", "mlp:tiny-test", "--environment", "fake", "--device", "cpu", "--phase", "inference")
    small = ("--precision", "fp32", "--processes", "1", "--bursts", "3", "--results", "r")
    real = machine.power()
    for power, code in ((real | {"ac": False}, 2), (real | QUIET, 0)):
        monkeypatch.setattr("bench.machine.power", lambda found=power: found)
        got, _, err = cli(*one, *small, "--strict")
        assert got == code, err
        if code:
            assert "--strict" in err
            assert not (tmp_path / "r").exists()
    monkeypatch.setattr("bench.machine.power", lambda: real | {"ac": False})
    code, out, _ = cli(*one, *small)
    assert code == 0
    assert "runs on its battery" in out


def test_thermal_state_of_macos_by_pyobjc(monkeypatch: pytest.MonkeyPatch) -> None:
    """SYNTHETIC: Foundation as pyobjc shows it; a state beyond those known is unknown, and so is all without pyobjc."""
    state = 2
    info = SimpleNamespace(thermalState=lambda: state, isLowPowerModeEnabled=lambda: 1)
    foundation = SimpleNamespace(NSProcessInfo=SimpleNamespace(processInfo=lambda: info))
    monkeypatch.setitem(__import__("sys").modules, "Foundation", foundation)
    power = macos.power(lambda command: None)
    assert (power["thermal_state"], power["low_power_mode"]) == ("serious", True)
    state = 9
    assert "thermal_state" not in macos.power(lambda command: None)
    monkeypatch.setitem(__import__("sys").modules, "Foundation", None)
    assert macos.power(lambda command: None)["low_power_mode"] is None


def test_displays_of_linux(tmp_path: Path) -> None:
    connectors = {"card0-HDMI-A-1": "enabled", "card0-DP-1": "disabled", "card1-eDP-1": "enabled"}
    for name, state in connectors.items():
        (tmp_path / "sys/class/drm" / name).mkdir(parents=True)
        (tmp_path / "sys/class/drm" / name / "enabled").write_text(state + "\n")
    (tmp_path / "sys/class/drm/card0").mkdir()
    assert linux.facts(lambda command: None, tmp_path)["displays"] == 2
    assert linux.facts(lambda command: None, tmp_path / "nothing")["displays"] is None
