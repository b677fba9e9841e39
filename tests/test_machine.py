"""Machine facts.

The macOS answers below are SYNTHETIC: written after the programs' documentation and public output, not taken from a
Mac. They prove the parsing, not the facts.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import machine
from bench.machine import command, linux, macos

M4_MAX = {
    "sysctl -n sysctl.proc_translated": "0\n",
    "sysctl -n kern.hv_vmm_present": "0\n",
    "sysctl -n hw.model": "Mac16,5\n",
    "sysctl -n machdep.cpu.brand_string": "Apple M4 Max\n",
    "sysctl -n hw.physicalcpu": "16\n",
    "sysctl -n hw.logicalcpu": "16\n",
    "sysctl -n hw.activecpu": "16\n",
    "sysctl -n hw.memsize": "137438953472\n",
    "sysctl -n hw.nperflevels": "2\n",
    "sysctl -n hw.perflevel0.name": "Performance\n",
    "sysctl -n hw.perflevel0.physicalcpu": "12\n",
    "sysctl -n hw.perflevel1.name": "Efficiency\n",
    "sysctl -n hw.perflevel1.physicalcpu": "4\n",
    "sysctl -n hw.optional.arm.FEAT_FP16": "1\n",
    "sysctl -n hw.optional.arm.FEAT_BF16": "1\n",
    "sysctl -n hw.optional.arm.FEAT_SME": "0\n",
    "sw_vers -productVersion": "26.2\n",
    "sw_vers -buildVersion": "25C56\n",
    "pmset -g batt": "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; present: true\n",
    "pmset -g": "Currently in use:\n standby              1\n lowpowermode         0\n sleep 1\n",
    "pmset -g therm": "CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Speed_Limit \t= 87\n",
    "system_profiler SPDisplaysDataType -json": json.dumps(
        {
            "SPDisplaysDataType": [
                {
                    "_name": "Apple M4 Max",
                    "sppci_model": "Apple M4 Max",
                    "sppci_cores": "40",
                    "spdisplays_ndrvs": [{"_name": "Color LCD"}],
                }
            ]
        }
    ),
}


def answering(answers: Mapping[str, str]) -> command.Runner:
    """A runner that knows these commands; any other is as if it were missing, failed or timed out."""

    def runner(asked: Sequence[str]) -> str | None:
        return answers.get(" ".join(asked))

    return runner


def test_mac_facts() -> None:
    """Every fact of a healthy Mac, in the recorded units and types."""
    assert macos.facts(answering(M4_MAX)) == {
        "os_version": "macOS 26.2 (25C56)",
        "architecture": os.uname().machine,
        "model": "Mac16,5",
        "chip": "Apple M4 Max",
        "physical_cores": 16,
        "logical_cores": 16,
        "usable_cores": 16.0,
        "core_levels": [{"name": "Performance", "cores": 12}, {"name": "Efficiency", "cores": 4}],
        "memory_bytes": 128 * 1024**3,
        "simd": ["asimdhp", "bf16"],
        "virtualised": False,
        "translated": False,
        "gpu": "Apple M4 Max",
        "gpu_cores": 40,
        "displays": 1,
    }


def test_mac_power() -> None:
    """Mains, mode and speed limit as pmset words them."""
    assert macos.power(answering(M4_MAX)) == {"ac": True, "low_power_mode": False, "thermal_pressure": 87}
    battery = {
        "pmset -g batt": "Now drawing from 'Battery Power'\n",
        "pmset -g": " powermode            1\n",
        "pmset -g therm": "Note: No thermal warning level has been recorded\n",
    }
    assert macos.power(answering(battery)) == {"ac": False, "low_power_mode": True, "thermal_pressure": None}
    assert macos.power(answering({"pmset -g": " powermode 2\n"}))["low_power_mode"] is False


def test_mac_under_rosetta_and_in_a_virtual_machine() -> None:
    """An x86_64 Python on an arm64 Mac; a hosted runner known by the kernel's word or by its GPU's name."""
    rosetta = macos.facts(answering(M4_MAX | {"sysctl -n sysctl.proc_translated": "1\n"}))
    assert (rosetta["translated"], rosetta["architecture"]) == (True, "arm64")
    guest = macos.facts(answering(M4_MAX | {"sysctl -n kern.hv_vmm_present": "1\n"}))
    assert guest["virtualised"] is True
    display = json.dumps({"SPDisplaysDataType": [{"sppci_model": "Apple Paravirtual device"}]})
    guest = macos.facts(answering(M4_MAX | {"system_profiler SPDisplaysDataType -json": display}))
    assert (guest["virtualised"], guest["gpu_cores"]) == (True, None)


#: SYNTHETIC too: a hosted runner's virtual Mac. No battery, no performance levels, a paravirtual GPU without cores.
RUNNER = {
    "sysctl -n sysctl.proc_translated": "0\n",
    "sysctl -n kern.hv_vmm_present": "1\n",
    "sysctl -n hw.model": "VirtualMac2,1\n",
    "sysctl -n machdep.cpu.brand_string": "Apple M1 (Virtual)\n",
    "sysctl -n hw.physicalcpu": "3\n",
    "sysctl -n hw.logicalcpu": "3\n",
    "sysctl -n hw.activecpu": "3\n",
    "sysctl -n hw.memsize": "7516192768\n",
    "sysctl -n hw.nperflevels": "1\n",
    "sysctl -n hw.perflevel0.name": "Standard\n",
    "sysctl -n hw.perflevel0.physicalcpu": "3\n",
    "sw_vers -productVersion": "15.7\n",
    "sw_vers -buildVersion": "24G222\n",
    "pmset -g batt": "Now drawing from 'AC Power'\n",
    "pmset -g": "System-wide power settings:\nCurrently in use:\n sleep                0\n",
    "system_profiler SPDisplaysDataType -json": json.dumps(
        {"SPDisplaysDataType": [{"_name": "Apple Paravirtual device", "sppci_model": "Apple Paravirtual device"}]}
    ),
}


def test_mac_in_a_hosted_runner() -> None:
    """Virtual by both signs; what it does not say is unknown and not 0."""
    found = macos.facts(answering(RUNNER))
    assert found["virtualised"] is True
    assert (found["model"], found["chip"]) == ("VirtualMac2,1", "Apple M1 (Virtual)")
    assert found["core_levels"] == [{"name": "Standard", "cores": 3}]
    assert (found["gpu"], found["gpu_cores"], found["simd"]) == ("Apple Paravirtual device", None, None)
    assert macos.power(answering(RUNNER)) == {"ac": True, "low_power_mode": None, "thermal_pressure": None}


@pytest.mark.parametrize("program", ["sysctl", "sw_vers", "pmset", "system_profiler"])
def test_mac_where_one_program_is_missing_or_slow(program: str) -> None:
    """Its facts are unknown, and all the others stay."""
    left = {asked: text for asked, text in M4_MAX.items() if not asked.startswith(program)}
    whole = macos.facts(answering(M4_MAX)) | macos.power(answering(M4_MAX))
    found = macos.facts(answering(left)) | macos.power(answering(left))
    lost = {key for key in whole if found[key] != whole[key]}
    assert lost, "the program was asked for something"
    assert all(found[key] is None for key in lost)
    if program != "sysctl":
        assert found["chip"] == "Apple M4 Max"


def test_mac_names_its_levels() -> None:
    """M5 Pro and Max call theirs Super and Performance: the words are the system's, the fastest first."""
    levels = {"hw.perflevel0.name": "Super", "hw.perflevel1.name": "Performance"}
    found = macos.facts(answering(M4_MAX | {f"sysctl -n {name}": f"{word}\n" for name, word in levels.items()}))
    assert [level["name"] for level in found["core_levels"]] == ["Super", "Performance"]


def test_mac_that_answers_nothing() -> None:
    """All commands missing or timed out: every fact is None but what Python itself knows."""
    found = macos.facts(answering({}))
    assert {key for key, value in found.items() if value is not None} == {"architecture"}
    assert set(macos.power(answering({})).values()) == {None}


GARBAGE = [
    "",
    "\n",
    "-1\n",
    "0\n",
    "99999999999999999999x",
    "[]",
    "{}",
    "null",
    '{"SPDisplaysDataType": []}',
    "\x00\ufffd",
]
GARBAGE += [
    '{"SPDisplaysDataType": [7]}',
    '{"SPDisplaysDataType": {"a": 1}}',
    '{"SPDisplaysDataType": [{"sppci_cores": []}]}',
]


@pytest.mark.parametrize("text", GARBAGE)
def test_mac_that_answers_garbage(text: str) -> None:
    """Never an exception, never a number that is not one."""
    found = macos.facts(lambda asked: text)
    for key in ("physical_cores", "logical_cores", "usable_cores", "memory_bytes", "core_levels", "gpu", "gpu_cores"):
        assert found[key] is None, key
    assert found["os_version"] is None or not text.strip("-01\n")
    assert set(macos.power(lambda asked: text).values()) == {None}


def test_mac_with_endless_levels() -> None:
    """A nonsensical count must not start thousands of processes."""
    asked: list[str] = []

    def runner(words: Sequence[str]) -> str | None:
        asked.append(" ".join(words))
        return "5000000" if words[-1] == "hw.nperflevels" else None

    assert macos.facts(runner)["core_levels"] is None
    assert len(asked) < 40


EPYC = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse4_2 avx2 f16c avx512f avx512_bf16 hypervisor
bugs\t\t:

processor\t: 1
model name\t: not this one
flags\t\t: amx_bf16
"""


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    """A machine's /proc and /sys as files below ``root``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_linux_facts(tmp_path: Path) -> None:
    """A guest with an NVIDIA GPU."""
    root = lay_out(
        tmp_path,
        {
            "proc/cpuinfo": EPYC,
            "etc/os-release": 'NAME=X\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "sys/class/dmi/id/product_name": "m7a.large\n",
            "dev/nvidia0": "",
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n",
        },
    )
    runner = answering({"nvidia-smi --query-gpu=name --format=csv,noheader": "NVIDIA H100\nNVIDIA H100\n"})
    found = linux.facts(runner, root)
    assert found.pop("usable_cores") is None or sys.platform == "linux"
    assert found == {
        "os_version": "Debian GNU/Linux 12 (bookworm)",
        "model": "m7a.large",
        "chip": "AMD EPYC 9R14",
        "simd": ["avx2", "avx512_bf16", "avx512f", "f16c", "sse4_2"],
        "virtualised": True,
        "gpu": "NVIDIA H100, NVIDIA H100",
        "driver": "550.54.15",
        "displays": None,
    }


def test_linux_on_arm(tmp_path: Path) -> None:
    """No "model name" and no "flags": the device tree and "Features" speak."""
    root = lay_out(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp bf16 sha2\n",
            "proc/device-tree/model": "Radxa Board\0",
        },
    )
    found = linux.facts(answering({}), root)
    assert found["chip"] == "Radxa Board"
    assert found["simd"] == ["asimd", "asimdhp", "bf16"]
    assert found["virtualised"] is False


def test_linux_that_knows_nothing(tmp_path: Path) -> None:
    """An empty /proc and /sys (a strict sandbox): None, and no exception."""
    found = linux.facts(answering({}), tmp_path)
    found.pop("usable_cores")
    assert set(found.values()) == {None}
    assert set(linux.power(answering({}), tmp_path).values()) == {None}


def test_linux_power(tmp_path: Path) -> None:
    """On battery with the mains unplugged; mixed governors are both named; throttle counts add up."""
    cpu = "sys/devices/system/cpu"
    root = lay_out(
        tmp_path,
        {
            "sys/class/power_supply/AC/type": "Mains\n",
            "sys/class/power_supply/AC/online": "0\n",
            "sys/class/power_supply/BAT0/type": "Battery\n",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance\n",
            f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "3\n",
            f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "4\n",
            f"{cpu}/cpu2/thermal_throttle/core_throttle_count": "garbage\n",
            f"{cpu}/cpufreq/boost": "1\n",
        },
    )
    expected: dict[str, Any] = {"ac": False, "governor": "performance, powersave", "throttle_count": 7}
    assert linux.power(answering({}), root) == expected
    (root / "sys/class/power_supply/AC/online").write_text("1\n")
    assert linux.power(answering({}), root)["ac"] is True


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        # A parent's quota binds its children.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n", "proc/self/cgroup": "garbage"}, None),
        ({"sys/fs/cgroup/cpu.max": "5 0\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "inf nan\n"}, None),
    ],
)
def test_linux_quota(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    """A container's quota makes fewer cores usable than the mask shows; both versions of cgroups."""
    root = lay_out(tmp_path, files)
    assert linux._cgroup_quota_cores(root) == quota
    if hasattr(os, "sched_getaffinity"):
        mask = float(len(os.sched_getaffinity(0)))
        assert linux.usable_cores(root) == (mask if quota is None else min(mask, quota))


def test_this_machine() -> None:
    """The real thing: all keys, nothing but JSON, and never a 0 or a -1 for what is unknown."""
    facts, power = machine.facts(), machine.power()
    assert tuple(facts) == machine.FACTS
    assert tuple(power) == machine.POWER
    json.dumps([facts, power], allow_nan=False)
    for key in ("logical_cores", "memory_bytes", "physical_cores", "usable_cores"):
        assert facts[key] is None or facts[key] > 0
    assert facts["chip"] is None or facts["chip"].strip()


def test_host_name_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a hash that tells machines apart; the same name gives the same one."""
    monkeypatch.setattr("platform.node", lambda: "anna-and-bertas-macbook")
    first = machine.facts(answering({}))
    assert "anna" not in json.dumps(first)
    assert first["host"] == machine.facts(answering({}))["host"]
    monkeypatch.setattr("platform.node", lambda: "another")
    assert first["host"] != machine.facts(answering({}))["host"]


def test_cpu_busy_counts_work() -> None:
    """CPU time of this process is part of everybody's; the counter ticks in 10 ms."""
    before_all, before_own = machine.cpu_busy_ns(), time.process_time_ns()
    while time.process_time_ns() - before_own < 200_000_000:
        pass
    assert machine.cpu_busy_ns() - before_all >= 150_000_000


def test_cpu_busy_leaves_idle_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle and waiting for disks are not work; guest is inside user already; steal is somebody else's work."""

    class Times:
        user, nice, system, idle, iowait, irq, softirq, steal, guest = 1.0, 2.0, 4.0, 1e6, 1e6, 8.0, 16.0, 32.0, 1e6

    monkeypatch.setattr("psutil.cpu_times", Times)
    assert machine.cpu_busy_ns() == 63_000_000_000


def test_run_gives_none_for_every_failure() -> None:
    """Missing, failing and slow programs; a good one gives its text, also when it is not UTF-8."""
    assert command.run(["/no/such/program"]) is None
    assert command.run([sys.executable, "-c", "raise SystemExit(3)"]) is None
    assert command.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.2) is None
    assert command.run([sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'a\\xff')"]) == "a\ufffd"
    assert command.run([sys.executable, "-c", "print(repr(input()))"]) is None


def test_git_revision(tmp_path: Path) -> None:
    """A commit, dirty when a tracked file differs, unknown outside a checkout and in a folder within one."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    assert machine.git_revision(tmp_path) is None
    git("init")
    assert machine.git_revision(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    clean = machine.git_revision(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "untracked").write_text("2")
    assert machine.git_revision(tmp_path) == clean
    (tmp_path / "file").write_text("2")
    assert machine.git_revision(tmp_path) == clean + "+dirty"
    (tmp_path / "inner").mkdir()
    assert machine.git_revision(tmp_path / "inner") is None


def test_keys_are_declared_once() -> None:
    """No system invents a key: ``facts`` would drop it silently."""
    assert set(macos.facts(answering({}))) | set(linux.facts(answering({}))) <= set(machine.FACTS)
    assert set(macos.power(answering({}))) | set(linux.power(answering({}))) <= set(machine.POWER)
    assert not any(a == b for a, b in itertools.combinations((*machine.FACTS, *machine.POWER), 2))
