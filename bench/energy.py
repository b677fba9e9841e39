"""Energy of a cell, in a pass of its own: meters that the parent reads while a worker works on for two seconds.

The parent reads them, so that no framework's environment needs a library for it. Every meter is optional: what cannot
be read here is said with its reason, and is never 0. Figures are of the whole part of the machine, idle draw and
neighbours included.

    rail of a cell on   cpu: ``cpu...``; metal or cuda: ``gpu...``; other rails that can be read are recorded beside it
    NVIDIA GPUs         NVML (nvidia-ml-py): the board's counter of energy since Volta, else its power, sampled
    Intel, AMD CPUs     RAPL through /sys/class/powercap; readable by root only on most systems
    Apple silicon       zeus-apple-silicon: counters of the chip, no root needed
    all others          zeus (zeus.ml), where somebody has installed it
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from bench.process import Worker, WorkerDied, WorkerTimeout

#: Work goes on for so long: METAL.md wants windows of a second or more, NVML's counter moves about ten times a second.
SUSTAIN_NS = 2_000_000_000
#: Between two readings of power where there is no counter of energy.
SAMPLE_S = 0.05
#: How a rail's name begins that a cell on a device cannot do without.
RAIL_OF = {"cpu": "cpu", "metal": "gpu", "cuda": "gpu"}

Joules = dict[str, float]


class NoMeter(Exception):
    """A meter cannot be read here; the message says why, for people."""


class Meter(Protocol):
    """Something that counts energy. ``source`` says what is read, and whether it is a counter or sampled power."""

    source: str

    def start(self) -> None:
        """The window begins."""

    def stop(self) -> Joules:
        """The window ends: joules by rail."""


@dataclass(frozen=True)
class Meters:
    """All that can be read on this machine, and why the others cannot, by name."""

    found: Sequence[Meter]
    missing: Mapping[str, str]

    def sentence(self) -> str:
        """Why there is no meter, or what there is, in one line for people."""
        have = "; ".join(meter.source for meter in self.found)
        lack = "; ".join(f"{name}: {why}" for name, why in self.missing.items())
        return have or f"no meter of energy can be read here ({lack})"


class Nvml:
    """One NVIDIA GPU, by the driver's own library."""

    def __init__(self, variables: Mapping[str, str] = os.environ, device_file: Path = Path("/dev/nvidiactl")) -> None:
        """Raises NoMeter: no GPU, no library, no driver, or several GPUs and none named."""
        if not device_file.exists():
            raise NoMeter("no NVIDIA GPU")
        self._nvml = _module("pynvml", "nvidia-ml-py")
        try:
            self._nvml.nvmlInit()
            self._gpu = self._handle(variables.get("CUDA_VISIBLE_DEVICES", ""))
        except self._nvml.NVMLError as error:
            raise NoMeter(f"NVML: {error}") from error
        try:
            self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)
            self._sampler: Sampler | None = None
            self.source = "NVML: counter of the board's energy"
        except self._nvml.NVMLError:
            self._sampler = Sampler(lambda: self._nvml.nvmlDeviceGetPowerUsage(self._gpu) / 1e3)
            self.source = f"NVML: the board's power, sampled every {SAMPLE_S * 1e3:.0f} ms"

    def _handle(self, visible: str) -> Any:
        """NVML counts by PCI place and CUDA by speed: with several GPUs only a UUID says which one a worker uses."""
        first = visible.split(",")[0].strip()
        if first.startswith(("GPU-", "MIG-")):
            return self._nvml.nvmlDeviceGetHandleByUUID(first)
        count = self._nvml.nvmlDeviceGetCount()
        if count != 1:
            raise NoMeter(f"{count} GPUs: set CUDA_VISIBLE_DEVICES to the UUID of one (nvidia-smi -L)")
        return self._nvml.nvmlDeviceGetHandleByIndex(0)

    def start(self) -> None:
        if self._sampler is not None:
            self._sampler.start()
        else:
            self._before = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)

    def stop(self) -> Joules:
        if self._sampler is not None:
            return {"gpu": self._sampler.stop()}
        return {"gpu": (self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu) - self._before) / 1e3}


class Sampler:
    """Power in watts, read again and again by a thread that sleeps in between, summed to joules by trapezoids."""

    def __init__(self, watts: Callable[[], float], every_s: float = SAMPLE_S) -> None:
        self._watts, self._every_s = watts, every_s
        self._samples: list[tuple[float, float]] = []

    def start(self) -> None:
        """Begin to sample."""
        self._over = threading.Event()
        self._samples = [self._read()]
        self._thread = threading.Thread(target=self._watch, daemon=True, name="power-sampler")
        self._thread.start()

    def stop(self) -> float:
        """The joules since ``start``."""
        self._over.set()
        self._thread.join()
        self._samples.append(self._read())
        pairs = pairwise(self._samples)
        return sum((late - early) * (before + after) / 2 for (early, before), (late, after) in pairs)

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._samples.append(self._read())

    def _read(self) -> tuple[float, float]:
        return time.monotonic(), self._watts()


class Rapl:
    """The processors' own counters, one per package, and of memory where there is one. ``root`` stands for ``/``."""

    source = "RAPL: counters of energy in /sys/class/powercap"

    def __init__(self, root: Path = Path("/")) -> None:
        """Raises NoMeter: there are none, or this user may not read them."""
        folder = root / "sys/class/powercap"
        zones = sorted(folder.glob("intel-rapl:*")) if folder.is_dir() else []
        self._zones = {name: zone for zone in zones if (name := self._name(zone)) is not None}
        if not self._zones:
            raise NoMeter("/sys/class/powercap has no RAPL zone")
        try:
            self._read()
        except OSError as error:
            raise NoMeter(f"RAPL: {error.strerror} (most systems let root alone read energy_uj)") from error

    @staticmethod
    def _name(zone: Path) -> str | None:
        """``cpu package-0``, ``dram package-0``; None for parts of a package, which would count twice, and ``psys``."""
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            if name == "dram":
                parent = zone.parent / zone.name.rpartition(":")[0]
                return f"dram {(parent / 'name').read_text(encoding='ascii').strip()}"
        except OSError:
            return None
        return f"cpu {name}" if name.startswith("package") else None

    def _read(self) -> dict[str, int]:
        return {name: int((zone / "energy_uj").read_text(encoding="ascii")) for name, zone in self._zones.items()}

    def start(self) -> None:
        self._before = self._read()

    def stop(self) -> Joules:
        return {name: self._passed(name, after) / 1e6 for name, after in self._read().items()}

    def _passed(self, name: str, after: int) -> int:
        """The counter begins anew after ``max_energy_range_uj``: every minute or so on a large machine."""
        passed = after - self._before[name]
        if passed < 0:
            passed += int((self._zones[name] / "max_energy_range_uj").read_text(encoding="ascii"))
        return passed


class Apple:
    """The chip's own counters, by zeus-apple-silicon (names as in its wheel 1.0.4). Never run on a Mac so far."""

    source = "zeus-apple-silicon: counters of the chip's energy"
    #: Their fields, in millijoules or None -> ours.
    FIELDS = {
        "cpu_total_mj": "cpu",
        "gpu_mj": "gpu",
        "gpu_sram_mj": "sram of the gpu",
        "dram_mj": "dram",
        "ane_mj": "ane",
    }

    def __init__(self) -> None:
        """Raises NoMeter: no library, or the chip has no such counters."""
        library = _module("zeus_apple_silicon", "zeus-apple-silicon")
        try:
            self._monitor = library.AppleEnergyMonitor()
        except Exception as error:  # a C++ exception without a type of its own
            raise NoMeter(f"zeus-apple-silicon: {error}") from error

    def start(self) -> None:
        self._monitor.begin_window("twinbench")

    def stop(self) -> Joules:
        found = self._monitor.end_window("twinbench")
        read = {rail: getattr(found, field, None) for field, rail in self.FIELDS.items()}
        return {rail: value / 1e3 for rail, value in read.items() if value is not None}


class Zeus:
    """Whatever zeus can read here; only where it is installed, for it brings pandas and scikit-learn along."""

    source = "zeus: ZeusMonitor"

    def __init__(self) -> None:
        """Raises NoMeter: zeus is not installed, or finds nothing."""
        library = _module("zeus.monitor", "zeus")
        try:
            self._monitor = library.ZeusMonitor()
        except Exception as error:  # each of its backends has exceptions of its own
            raise NoMeter(f"zeus: {error}") from error

    def start(self) -> None:
        # Without sync_execution=False it would import torch here, in the parent.
        self._monitor.begin_window("twinbench", sync_execution=False)

    def stop(self) -> Joules:
        found = self._monitor.end_window("twinbench", sync_execution=False)
        sums = {"gpu": found.gpu_energy, "cpu packages": found.cpu_energy, "dram": found.dram_energy}
        return {rail: float(sum(by_index.values())) for rail, by_index in sums.items() if by_index}


def _module(name: str, distribution: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NoMeter(f"{distribution} is not installed") from error


def find(system: str = sys.platform) -> Meters:
    """The meters of this machine. zeus is asked only where nothing else answers."""
    kinds: dict[str, Callable[[], Meter]] = {"apple": Apple} if system == "darwin" else {"nvidia": Nvml, "rapl": Rapl}
    found: list[Meter] = []
    missing: dict[str, str] = {}
    for name, make in (kinds | {"zeus": Zeus}).items():
        if name == "zeus" and found:
            continue
        try:
            found.append(make())
        except NoMeter as why:
            missing[name] = str(why)
    return Meters(found, missing)


def measure(meters: Meters, device: str, worker: Worker, timeout_s: float) -> dict[str, Any]:
    """Let ``worker`` work on and read the meters around it: ``{"energy": ...}``, or ``{"not_measured": why}``."""
    if not meters.found:
        return {"not_measured": meters.sentence()}
    try:
        for meter in meters.found:
            meter.start()
        try:
            reply = worker.call("sustain", timeout_s, wall_ns=SUSTAIN_NS)
        finally:
            rails = {rail: joules for meter in meters.found for rail, joules in meter.stop().items()}
    except (WorkerTimeout, WorkerDied) as error:
        return {"not_measured": f"the worker did not go on: {error}"}
    except Exception as error:  # a library's or a driver's own; a pass never costs the measurement
        return {"not_measured": f"{type(error).__name__}: {error}"}
    if "ok" not in reply:
        return {"not_measured": f"the work failed: {reply['outcome'].get('message', reply['outcome']['kind'])}"}
    wanted = RAIL_OF[device]
    if not any(rail.startswith(wanted) for rail in rails):
        lack = "; ".join(meters.missing.values()) or "no meter has such a rail"
        return {"not_measured": f"the energy of the {wanted} cannot be read here ({lack})"}
    source = "; ".join(meter.source for meter in meters.found)
    return {"energy": {"rails_joules": rails, "source": source, **reply["ok"]}}
