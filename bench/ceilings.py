"""What a framework reaches on its device, through the fence that holds there: times of a cell are held against it.

Standard library, NumPy and the framework: this runs in a framework's interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bench import timing
from bench.frameworks.base import Framework, Step

#: The matrix product and the copy: time each may take, and the sizes of the products.
CEILING_NS = 60_000_000
GEMM_SIZES = (256, 4096)
#: The ceiling is a measured one and a cell may use a better kernel; a quarter above it is still possible, not more.
ROOFLINE_SLACK = 1.25
#: Times that the products are taken again for a cell that is faster than that, and the wall time after which they are
#: not: XLA tunes a product anew each time.
RETRIES, RETRY_NS = 5, 20_000_000_000
#: In flight at once: a single product ends before its launch and fence are paid for on a fast GPU.
IN_FLIGHT_NS = 5_000_000
COPY_BYTES = 128 << 20
#: Repeats of the calibration kernel (about 1 ms each) before and after the measurement.
CALIBRATIONS = 20
#: The fence self-test's chain: long against any launch cost.
CHAIN_NS = 20_000_000
#: Readings of a fence on a finished output; the least one counts.
FENCES = 5

#: A reading of the clock sentinel is the fastest of so many: a neighbour's time slice slows one, a slower clock all.
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


class Ceilings:
    """The fence of one framework on its open device, and the rates measured through it.

    ``fence`` is the framework's barrier until ``test_fence`` has found out what holds; ``fence_ns`` is its cost.
    """

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self.fence = self._fence("barrier")
        self.fence_ns = 0
        self.watch = Watch(framework)
        self.gemm_rates_flops_per_s: dict[str, float] = {}

    def test_fence(self) -> timing.FenceTest:
        """Does the barrier wait? If not, ``fence`` reads back from here on. Also what a fence costs.

        A GPU has done a small product before the next is launched, and then even a barrier that does nothing seems to
        wait: a larger product decides, until one is that the launches run ahead of. There is none where a
        framework computes before it returns, as torch does on a CPU.
        """
        framework, clock = self._framework, self._framework.clock
        size: int | None = GEMM_SIZES[0]
        product = small = self.small_product()
        while size is not None:
            found = timing.check_fence(product, framework.barrier, framework.host_read, clock, CHAIN_NS)
            rate = 2.0 * size**3 * found.iterations / found.host_read_ns * 1e9
            size = None if timing.is_telling(found.issued_ns, found.host_read_ns) else _larger(size, rate)
            if size is not None:
                product = self._product(size, "fp32")
        self.fence = self._fence(found.kind)
        done = small()
        self.fence(done)
        self.fence_ns = min(timing.burst(lambda: done, self.fence, 1, clock).wall_ns for _ in range(FENCES))
        return found

    def small_product(self) -> Step:
        """A step of little work: a product of 256 x 256 in fp32."""
        return self._product(GEMM_SIZES[0], "fp32")

    def measure_gemm(self, words: Iterable[str]) -> None:
        """Take the product at each precision. A ceiling is a maximum: it stays where it was higher before."""
        for word in dict.fromkeys(words):
            before = self.gemm_rates_flops_per_s.get(word, 0.0)
            self.gemm_rates_flops_per_s[word] = max(before, self.gemm_flops_per_s(word))

    def measure_below(self, flops_per_s: float) -> None:
        """Take the products again, a few times at most, while a cell's ``flops_per_s`` is more than they allow.

        A neighbour may have had the cores just then: of torch's spinning threads it left a fiftieth. A cell that is
        faster than it can be stays above the product however often that is timed.
        """
        began_ns = self._framework.clock()
        for _ in range(RETRIES):
            possible = ROOFLINE_SLACK * max(self.gemm_rates_flops_per_s.values())
            if flops_per_s <= possible or self._framework.clock() - began_ns > RETRY_NS:
                return
            self.measure_gemm(self.gemm_rates_flops_per_s)

    def gemm_reply(self) -> dict[str, Any]:
        """The products' rates, as a record has them."""
        rates = self.gemm_rates_flops_per_s
        return {"gemm_flops_per_s": max(rates.values()), "gemm_rates_flops_per_s": dict(rates)}

    def gemm_flops_per_s(self, word: str) -> float:
        """FLOP/s of the best square product at the precision ``word``: a small one, and one as large as time allows."""
        size: int | None = GEMM_SIZES[0]
        best = 0.0
        while size is not None:
            product = self._product(size, word)
            rate = self._best_rate(product, 2.0 * size**3)
            if word == "fp32":
                self.watch.offer(size, product, rate)
            best = max(best, rate)
            size = _larger(size, best)
        return best

    def copy_bytes_per_s(self) -> float:
        """Bytes read and written per second by a copy of 128 MiB."""
        return self._best_rate(self._framework.copy(COPY_BYTES), 2.0 * COPY_BYTES)

    def calibrations(self) -> list[int]:
        """Times of the calibration kernel in ns: how calm the machine is."""
        framework = self._framework
        return [
            timing.burst(framework.calibrate, lambda _: None, 1, framework.clock).wall_ns for _ in range(CALIBRATIONS)
        ]

    def _product(self, size: int, word: str) -> Step:
        """A square product at the precision ``word``."""
        operand = _square(size, size)
        return self._framework.matmul(operand, operand, word)

    def _fence(self, kind: str) -> Callable[[Any], Any]:
        framework = self._framework
        if kind == "barrier" and not framework.reads_back:
            return framework.barrier

        def barrier_and_read(out: Any) -> None:
            framework.barrier(out)
            framework.host_read(out)

        return barrier_and_read

    def _best_rate(self, step: Callable[[], Any], work: float) -> float:
        """The best rate of ``step``, which does ``work``: several in flight where one alone is short."""
        framework = self._framework
        framework.host_read(step())

        def run(iterations: int) -> timing.Burst:
            return timing.burst(step, self.fence, iterations, framework.clock)

        in_flight_ns = max(IN_FLIGHT_NS, timing.FENCE_SHARE * self.fence_ns)
        return timing.best_rate(run, work, CEILING_NS, in_flight_ns)


def _larger(size: int, flops_per_s: float) -> int | None:
    """The largest size of a product that the time allows at that rate; None where that is not twice ``size``.

    Straight to the largest: XLA tunes every new shape for seconds.
    """
    largest = GEMM_SIZES[1]
    affordable = math.cbrt(CEILING_NS * 1e-9 * flops_per_s / 2.0)
    if size == largest or affordable < 2 * size:
        return None
    return min(largest, 1 << int(math.log2(affordable)))


def _square(size: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.RandomState(seed).random_sample((size, size)).astype(np.float32)
