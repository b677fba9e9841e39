"""The worker's stages that are no part of a measurement: clock sentinel, device memory, sustained work, profile.

None of them runs within a timed region, and what they find stands beside the measurement. Standard library, NumPy and
the framework: this runs in a framework's interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import timing
from bench.cell import Cell
from bench.frameworks.base import Framework, Program, Step
from bench.frameworks.passes import NotMeasured, RunSome, passes_for

Reply = dict[str, Any]

#: Iterations of the memory pass: the first may still grow a pool, the others show that it does not go on.
MEMORY_ITERATIONS = 3
#: A reading of the sentinel is the fastest of so many: a neighbour's time slice slows one, a slower clock all.
REPEATS = 3
#: A repeat lasts at least this long, so that launch and fence do not decide it ...
REPEAT_NS = 2_000_000
#: ... and a product that alone takes longer than this is not for the sentinel: a smaller one is.
LONGEST_NS = 10_000_000


class Watch:
    """The clock sentinel of one worker: a product that gave the ceiling before, so that nothing is compiled for it."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self.size = self.iterations = 0
        self._step: Step | None = None

    def offer(self, size: int, step: Step, flops_per_s: float) -> None:
        """A product of that size, in order of size; the largest that is short enough is kept."""
        each_ns = 2.0 * size**3 / flops_per_s * 1e9
        if self._step is None or each_ns <= LONGEST_NS:
            self.size, self._step = size, step
            self.iterations = max(1, math.ceil(REPEAT_NS / max(each_ns, 1.0)))

    def read_ns(self, fence: timing.Fence) -> int:
        """The time of ``iterations`` products in flight, the fastest of three."""
        assert self._step is not None
        clock, step = self._framework.clock, self._step
        # The first call after other work finds cold caches; it is not timed.
        fence(step())
        return min(timing.burst(step, fence, self.iterations, clock).wall_ns for _ in range(REPEATS))


class PassStages:
    """Stages of ``bench.worker.Session``, which has these attributes once it is loaded."""

    framework: Framework
    program: Program
    cell: Cell
    fence: Callable[[Any], Any]
    iterations: int
    watch: Watch
    device: str

    def _burst(self, iterations: int) -> timing.Burst:
        raise NotImplementedError

    def sentinel(self) -> Reply:
        """One reading of the clock sentinel; ``cost_ns`` is what it took in all."""
        clock = self.framework.clock
        self.framework.barrier(None)
        began = clock()
        wall_ns = self.watch.read_ns(self.fence)
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
                    self.fence(out)
