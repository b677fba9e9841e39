"""What speaks against measuring now: each finding alone, nothing on a quiet machine, and --strict refuses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import machine, preflight, session
from bench.errors import UsageError
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
    ],
)
def test_each_finding_warns_alone(power: dict[str, Any], said: str) -> None:
    (warning,) = preflight.check(FACTS, QUIET | power).warnings
    assert said in warning


def test_swap_is_judged_by_what_moves() -> None:
    """What lies there may lie there since last week: a note. What moves is a warning that may pass."""
    lying = QUIET | {"swap_used_bytes": 2 * 2**30}
    for rate in (None, 0.0, 2.0**19):
        assert preflight.check(FACTS, lying, rate) == preflight.Preflight((), ("2.0 GiB are swapped out",))
    found = preflight.check(FACTS, QUIET, 3 * 2.0**20)
    assert found.warnings == ("3.0 MiB/s are being swapped: close what needs the memory",)
    assert found.may_pass
    assert not preflight.check(FACTS, QUIET | {"ac": False}, 3 * 2.0**20).may_pass


class Told:
    """In place of ``Progress``: keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """As ``Progress.note``."""
        self.notes.append(text)


class Machine:
    """One whose load and swap change with the clock; sleeping moves the clock. ``swap``: until then, 2 MiB/s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, busy_s: float, swap_s: float = 0.0, **power: Any) -> None:
        self.now, self.busy_s, self.swap_s, self._power = 1000.0, 1000.0 + busy_s, 1000.0 + swap_s, power
        monkeypatch.setattr("bench.machine.facts", lambda: FACTS)
        monkeypatch.setattr("bench.machine.power", self.power)
        monkeypatch.setattr("bench.machine.swapped_bytes", lambda: int(min(self.now, self.swap_s) * 2 * 2**20))

    def power(self) -> dict[str, Any]:
        """As ``machine.power``."""
        return QUIET | {"load_1min": 5.0 if self.now < self.busy_s else 0.4} | self._power

    def look(self, strict: bool) -> Told:
        """``session.look_around`` by this clock."""
        view = Told()
        session.look_around(view, strict, lambda: self.now, self.sleep)  # type: ignore[arg-type]
        return view

    def sleep(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds


@pytest.mark.parametrize(("busy_s", "swap_s"), [(200.0, 0.0), (0.0, 200.0), (200.0, 100.0)])
def test_strict_waits_for_what_passes(monkeypatch: pytest.MonkeyPatch, busy_s: float, swap_s: float) -> None:
    """The one-minute load right after an installation is the installation's own."""
    machine = Machine(monkeypatch, busy_s, swap_s)
    view = machine.look(strict=True)
    assert 200 <= machine.now - 1000 < 220
    (note,) = view.notes
    assert note.startswith("waiting up to 10 min (--strict): ")


def test_strict_waits_no_longer_than_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, busy_s=1e9)
    with pytest.raises(UsageError, match=r"not measured .--strict.: others are at work: a load of 5.0 on 8 cores"):
        machine.look(strict=True)
    assert 600 <= machine.now - 1000 < 620


def test_nobody_waits_for_what_does_not_pass_or_without_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, busy_s=100, ac=False)
    with pytest.raises(UsageError, match=r"battery.*others are at work"):
        machine.look(strict=True)
    assert machine.now - 1000 < 5
    machine = Machine(monkeypatch, busy_s=100)
    assert machine.look(strict=False).notes == ["others are at work: a load of 5.0 on 8 cores over the last minute"]
    assert machine.now - 1000 < 5


def test_what_moves_to_swap_on_macos() -> None:
    """SYNTHETIC: vm_stat's words; psutil's counters there hold pages of files, too."""
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:          3021.\n"
        "Pageins:         9912345.\nSwapins:               10.\nSwapouts:               5.\n"
    )
    assert macos.swapped_bytes(lambda command: text) == 15 * 16384
    assert macos.swapped_bytes(lambda command: text.replace("Swapins", "Swopins")) is None
    assert macos.swapped_bytes(lambda command: None) is None


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
