"""The worker's stages that are no part of a measurement: clock sentinel, device memory, sustained work, profile.

None of them runs within a timed region, and what they find stands beside the measurement. Standard library, NumPy and
the framework: this runs in a framework's interpreter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import timing
from bench.ceilings import Ceilings
from bench.cell import Cell
from bench.frameworks.base import Framework, Program
from bench.frameworks.passes import NotMeasured, RunSome, passes_for

Reply = dict[str, Any]

#: Iterations of the memory pass: the first may still grow a pool, the others show that it does not go on.
MEMORY_ITERATIONS = 3


class PassStages:
    """Stages of ``bench.worker.Session``, which has these attributes once it is loaded."""

    framework: Framework
    program: Program
    cell: Cell
    ceilings: Ceilings
    iterations: int
    device: str

    def _burst(self, iterations: int) -> timing.Burst:
        raise NotImplementedError

    def sentinel(self) -> Reply:
        """One reading of the clock sentinel; ``cost_ns`` is what it took in all."""
        clock = self.framework.clock
        self.framework.barrier(None)
        began = clock()
        wall_ns = self.ceilings.watch.read_ns(self.ceilings.fence)
        return {"wall_ns": wall_ns, "cost_ns": clock() - began}

    def device_memory(self) -> Reply:
        """What a few iterations need on the device, or why that is not known."""
        return self.memory_of(lambda: self._run(MEMORY_ITERATIONS))

    def memory_of(self, run: RunSome) -> Reply:
        """As ``device_memory``, of any work."""
        try:
            return {"device_memory": passes_for(self.framework.name, self.device).memory(run)}
        except NotMeasured as reason:
            return {"not_measured": str(reason)}

    def sustain(self, wall_ns: int) -> Reply:
        """Work on until ``wall_ns`` are over, burst by burst, for a meter that the parent reads; resets included."""
        clock = self.framework.clock
        began = clock()
        iterations = 0
        with self.program.measuring():
            while clock() - began < wall_ns:
                self._burst(self.iterations)
                iterations += self.iterations
        return {"iterations": iterations, "wall_ns": clock() - began}

    def profile(self, folder: str, iterations: int) -> Reply:
        """Warm iterations under the framework's profiler; writes its files into ``folder``."""
        self._run(iterations)
        try:
            return passes_for(self.framework.name, self.device).profile(lambda: self._run(iterations), Path(folder))
        except NotMeasured as reason:
            return {"not_measured": str(reason)}

    def _run(self, iterations: int) -> None:
        """So many iterations, each fenced; state is put back before them."""
        with self.program.measuring():
            self.program.reset()
            self.framework.barrier(None)
            for _ in range(iterations):
                out = self.program.step()
                if self.cell.phase != "pipeline":
                    self.ceilings.fence(out)
