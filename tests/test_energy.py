"""Energy: every meter against a counter made here (SYNTHETIC, no meter can be read on this machine), and the pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import energy
from bench.energy import Apple, Meters, NoMeter, Nvml, Rapl, Sampler, Zeus
from bench.process import Reply, WorkerDied
from bench.record import Energy
from bench.report.stages import energy_text
from bench.summary import summarise
from tests.harness import command_line, no_processes, only_run, records_of
from tests.samples import measurement, record

S = 1_000_000_000


class Counter:
    """A meter that counts ``joules`` per window."""

    def __init__(self, rails: dict[str, float], source: str = "made here: counter") -> None:
        self.rails, self.source, self.open = rails, source, False

    def start(self) -> None:
        """Begin."""
        self.open = True

    def stop(self) -> dict[str, float]:
        """End."""
        assert self.open
        self.open = False
        return self.rails


class Worker:
    """A worker that works on, or does what else it is told."""

    def __init__(self, answer: Reply | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ahead(self, stage: str, **arguments: Any) -> None:
        """Nothing."""

    def call(self, stage: str, timeout_s: float, **arguments: Any) -> Reply:
        """The answer."""
        self.asked.append((stage, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def log_tail(self) -> str:
        """Nothing."""
        return ""

    def close(self) -> None:
        """Nothing."""


WORKED: Reply = {"ok": {"iterations": 100, "wall_ns": 2 * S}}


def taken(meters: Sequence[Any], device: str, answer: Reply | Exception = WORKED) -> dict[str, Any]:
    """What the pass says."""
    return energy.measure(Meters(meters, {"rapl": "root only"}), device, Worker(answer), 60.0)


def test_the_rails_around_two_seconds_of_work() -> None:
    worker = Worker(WORKED)
    found = energy.measure(Meters([Counter({"gpu": 300.0})], {}), "cuda", worker, 60.0)
    assert found == {
        "energy": {"rails_joules": {"gpu": 300.0}, "source": "made here: counter", "iterations": 100, "wall_ns": 2 * S}
    }
    assert worker.asked == [("sustain", {"wall_ns": energy.SUSTAIN_NS})]


def test_the_energy_of_another_part_is_not_the_cells() -> None:
    """The GPU idles while a CPU works: its counter says nothing about that cell."""
    assert taken([Counter({"gpu": 50.0})], "cpu") == {
        "not_measured": "the energy of the cpu cannot be read here (root only)"
    }
    both = taken([Counter({"gpu": 50.0}), Counter({"cpu package-0": 80.0})], "cpu")
    assert set(both["energy"]["rails_joules"]) == {"gpu", "cpu package-0"}


@pytest.mark.parametrize(
    ("meters", "answer", "said"),
    [
        ([], WORKED, "no meter of energy can be read here (rapl: root only)"),
        ([Counter({"gpu": 1.0})], WorkerDied("SIGSEGV", "ended by SIGSEGV"), "the worker did not go on"),
        ([Counter({"gpu": 1.0})], {"outcome": {"kind": "failed", "message": "out of memory"}}, "out of memory"),
        ([SimpleNamespace(source="x", start=lambda: 1 / 0, stop=dict)], WORKED, "ZeroDivisionError"),
    ],
)
def test_whatever_goes_wrong_is_a_reason_and_no_failure(meters: list[Any], answer: Any, said: str) -> None:
    assert said in taken(meters, "cuda", answer)["not_measured"]


class FakeNvml(SimpleNamespace):
    """As pynvml: a counter in mJ, or power in mW where the board is too old for one."""

    class NVMLError(Exception):
        """Theirs."""

    def __init__(self, count: int = 1, counter: bool = True) -> None:
        super().__init__()
        self.count, self.counter, self.mj = count, counter, 1_000

    def nvmlInit(self) -> None:  # noqa: N802 - their names
        """Nothing."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """How many."""
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        """By PCI place."""
        return f"index {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        """By name."""
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: str) -> int:  # noqa: N802
        """Since the driver was loaded."""
        if not self.counter:
            raise self.NVMLError("Not Supported")
        self.mj += 5_000
        return self.mj

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:  # noqa: N802
        """100 W."""
        return 100_000


def nvml(monkeypatch: pytest.MonkeyPatch, library: Any, visible: str = "") -> Nvml:
    """The meter on a made-up library."""
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return Nvml({"CUDA_VISIBLE_DEVICES": visible}, Path("/dev/null"))


def test_nvml_counts_millijoules_or_samples_power(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = nvml(monkeypatch, FakeNvml())
    counting.start()
    assert counting.stop() == {"gpu": 5.0}
    assert "counter" in counting.source
    sampling = nvml(monkeypatch, FakeNvml(counter=False))
    sampling.start()
    joules = sampling.stop()["gpu"]
    assert 0 <= joules < 100, "100 W for less than a second"
    assert "sampled every 50 ms" in sampling.source


def test_of_several_gpus_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoMeter, match="2 GPUs: set CUDA_VISIBLE_DEVICES"):
        nvml(monkeypatch, FakeNvml(count=2))
    assert nvml(monkeypatch, FakeNvml(count=2), "GPU-abc,GPU-def")._gpu == "GPU-abc"
    with pytest.raises(NoMeter, match="nvidia-ml-py is not installed"):
        nvml(monkeypatch, None)
    with pytest.raises(NoMeter, match="no NVIDIA GPU"):
        Nvml({}, Path("/no/such/device"))


def test_power_becomes_energy_by_trapezoids(monkeypatch: pytest.MonkeyPatch) -> None:
    times, watts = iter([0.0, 1.0, 3.0]), iter([10.0, 20.0, 40.0])
    sampler = Sampler(lambda: next(watts), every_s=3600.0)
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    sampler._samples = [sampler._read(), sampler._read()]
    sampler._over = SimpleNamespace(set=lambda: None)  # type: ignore[assignment]
    sampler._thread = SimpleNamespace(join=lambda: None)  # type: ignore[assignment]
    assert sampler.stop() == 15.0 + 60.0


def rapl(root: Path, values: dict[str, tuple[str, int]]) -> Path:
    """A powercap folder: zone -> (name, microjoules)."""
    for zone, (name, uj) in values.items():
        folder = root / "sys/class/powercap" / zone
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(f"{uj}\n")
        (folder / "max_energy_range_uj").write_text("1000000\n")
    return root


def test_rapl_adds_packages_and_memory_and_survives_the_counters_wrap(tmp_path: Path) -> None:
    before = {
        "intel-rapl:0": ("package-0", 900_000), "intel-rapl:0:0": ("core", 5), "intel-rapl:0:1": ("dram", 10_000),
        "intel-rapl:1": ("psys", 7),
    }  # fmt: skip
    meter = Rapl(rapl(tmp_path, before))
    meter.start()
    rapl(tmp_path, {"intel-rapl:0": ("package-0", 100_000), "intel-rapl:0:1": ("dram", 30_000)})
    assert meter.stop() == pytest.approx({"cpu package-0": 0.2, "dram package-0": 0.02})


def test_rapl_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoMeter, match="no RAPL zone"):
        Rapl(tmp_path)
    rapl(tmp_path, {"intel-rapl:0": ("package-0", 1)})
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(NoMeter, match="root alone"):
        Rapl(tmp_path)


def test_apple_rails_in_joules_and_none_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """SYNTHETIC: fields and call order as in the wheel zeus-apple-silicon 1.0.4."""
    windows: list[str] = []

    class Monitor:
        def begin_window(self, key: str) -> None:
            windows.append(key)

        def end_window(self, key: str) -> SimpleNamespace:
            assert windows == [key]
            return SimpleNamespace(cpu_total_mj=1500, gpu_mj=2500, dram_mj=None, ane_mj=0)

    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", SimpleNamespace(AppleEnergyMonitor=Monitor))
    meter = Apple()
    meter.start()
    assert meter.stop() == {"cpu": 1.5, "gpu": 2.5, "ane": 0.0}
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", SimpleNamespace(AppleEnergyMonitor=lambda: 1 / 0))
    with pytest.raises(NoMeter, match="zeus-apple-silicon"):
        Apple()


def test_zeus_never_syncs_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """SYNTHETIC: as zeus 0.16; with its default it would import torch."""

    class Monitor:
        def begin_window(self, key: str, sync_execution: bool = True) -> None:
            assert not sync_execution

        def end_window(self, key: str, sync_execution: bool = True) -> SimpleNamespace:
            assert not sync_execution
            return SimpleNamespace(gpu_energy={0: 1.0, 1: 2.0}, cpu_energy={0: 4.0}, dram_energy=None)

    monkeypatch.setitem(sys.modules, "zeus.monitor", SimpleNamespace(ZeusMonitor=Monitor))
    meter = Zeus()
    meter.start()
    assert meter.stop() == {"gpu": 3.0, "cpu packages": 4.0}


def test_energy_per_item_in_the_table() -> None:
    used = Energy({"gpu": 300.0, "cpu package-0": 20.0}, 2 * S, 100, "x")
    (row,) = summarise([record(measured=measurement(energy=used))])
    assert row.item_joules["gpu"] == pytest.approx(300 / 6400)
    assert energy_text(row) == "50.0 mJ (gpu 46.9, cpu package-0 3.12)"
    (without,) = summarise([record(measured=measurement(not_measured={"energy": "no meter"}))])
    assert energy_text(without) == "not measured: no meter"
    (unasked,) = summarise([record()])
    assert energy_text(unasked) == ""


def test_run_with_energy_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The accelerator's cell has its rail, the CPU's says why not; both are measured either way."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    no_processes(monkeypatch)
    monkeypatch.setattr(energy, "find", lambda: Meters([Counter({"gpu": 2.0})], {"rapl": "root only"}))
    cli = command_line(monkeypatch, capsys)
    one = ("run", "mlp:tiny-test", "--environment", "fake", "--phase", "inference", "--precision", "fp32")
    code, out, err = cli(*one, "--processes", "1", "--bursts", "3", "--energy", "--results", "r")
    assert code == 0, out + err
    found = {r.cell.device: r.measurement for r in records_of(only_run(tmp_path / "r"))}
    cpu, cuda = found["cpu"], found["cuda"]
    assert cpu is not None
    assert cuda is not None
    assert cpu.energy is None
    assert "root only" in cpu.not_measured["energy"]
    assert cuda.energy is not None
    assert cuda.energy.wall_ns >= energy.SUSTAIN_NS
    assert cuda.device_memory is not None
    assert (cuda.device_memory.kind, cuda.device_memory.source) == ("peak", "scripted")
    assert "host's memory" in cpu.not_measured["device-memory"]
    assert cli("report", "--results", "r", "--out", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "energy per item" in page
    assert "123 MB peak" in page
