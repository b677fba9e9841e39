"""What a framework can tell in a separate pass, apart from any timing: device memory, and a profile.

``bench/frameworks/passes_<framework>.py`` holds a ``Passes`` of each framework, loaded by the worker when a pass is
asked for. A framework without such a file, or without such a counter, says why: ``NotMeasured`` is never a failure.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Runs some iterations of the cell and waits for them.
RunSome = Callable[[], None]
#: Names of counters -> a reading, in bytes.
Reading = Mapping[str, int]

#: How often memory is sampled where there is no counter of peaks.
SAMPLE_S = 0.001

ON_A_CPU = "on a CPU it is the host's memory: see the peak resident memory"


class NotMeasured(Exception):
    """A pass does not apply here; the message says why, for people."""


class Passes:
    """The passes of a framework that has none; the base of the others. ``device`` is the cell's word."""

    def __init__(self, device: str) -> None:
        self.device = device

    def memory(self, run: RunSome) -> dict[str, Any]:
        """``run`` some iterations; the fields of ``record.DeviceMemory``.

        Raises:
            NotMeasured: there is no such counter here.
        """
        if self.device == "cpu":
            raise NotMeasured(ON_A_CPU)
        return self.device_memory(run)

    def device_memory(self, run: RunSome) -> dict[str, Any]:
        """As ``memory``, on an accelerator."""
        raise NotMeasured("no counter of device memory is known for this framework")

    def profile(self, run: RunSome, folder: Path) -> dict[str, Any]:
        """``run`` some iterations under the framework's profiler; writes its files into ``folder``.

        Returns ``operators`` (rows of ``bench.trace.Operator``), ``trace`` (name of a file that Perfetto opens, or
        None), ``fallbacks`` (operators that ran elsewhere than on the cell's device), ``notes`` for people.

        Raises:
            NotMeasured: the framework has no profiler that could be driven from here.
        """
        raise NotMeasured("this framework has no profiler that can be driven from here")


def passes_for(framework: str, device: str) -> Passes:
    """The framework's passes; the empty ones where it has no file of them."""
    name = f"bench.frameworks.passes_{framework}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return Passes(device)
    made = module.PASSES(device)
    assert isinstance(made, Passes)
    return made


def highest(read: Callable[[], Reading], run: RunSome) -> dict[str, int]:
    """The highest of many readings, by counter, while ``run`` runs; one is taken before and one after it."""
    top: dict[str, int] = {}
    over = threading.Event()

    def take() -> None:
        for name, value in read().items():
            top[name] = max(value, top.get(name, 0))

    def watch() -> None:
        while not over.is_set():
            take()
            time.sleep(SAMPLE_S)

    take()
    watcher = threading.Thread(target=watch, daemon=True, name="memory-sampler")
    watcher.start()
    try:
        run()
    finally:
        over.set()
        watcher.join()
    take()
    return top
