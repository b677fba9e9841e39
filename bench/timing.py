"""The one timed loop of the project, and the tests of its own validity. Standard library only.

Everything that twinbench ever calls a time went through ``burst``: throughput is a burst of many iterations, a latency
sample is a burst of one. A fence is whatever makes the host wait until the device has really finished.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter_ns
from typing import Any, NamedTuple

Clock = Callable[[], int]
Fence = Callable[[Any], Any]


class Burst(NamedTuple):
    """``iterations`` calls in flight and one fence, in ns. ``started_ns`` is a reading of the wall clock.

    ``cpu_ns`` is None where CPU time was not asked for.
    """

    iterations: int
    wall_ns: int
    cpu_ns: int | None
    started_ns: int

    @property
    def iteration_ns(self) -> float:
        """Wall time of one iteration."""
        return self.wall_ns / self.iterations


def burst(
    step: Callable[[], Any],
    fence: Fence,
    iterations: int,
    clock: Clock = perf_counter_ns,
    cpu_clock: Clock | None = None,
) -> Burst:
    """Time ``iterations`` (>= 1) calls of ``step`` and one ``fence`` on the last output.

    ``cpu_clock`` adds CPU time. Reading that of a whole process is a system call (0.7 us here), so a latency sample,
    a burst of one, goes without.
    """
    if iterations < 1:
        raise ValueError(f"a burst needs at least one iteration, got {iterations}")
    turns = repeat(None, iterations)
    out = None
    cpu = cpu_clock() if cpu_clock is not None else None
    started = clock()
    for _ in turns:
        out = step()
    fence(out)
    wall = clock() - started
    return Burst(iterations, wall, None if cpu is None or cpu_clock is None else cpu_clock() - cpu, started)


def extra_work(step: Callable[[], Any], share: float) -> Callable[[], Any]:
    """``step`` with ``share`` more work: at 0.1 every tenth call does it twice. A slow-down whose size is known."""
    owed = 0.0

    def longer() -> Any:
        nonlocal owed
        out = step()
        owed += share
        while owed >= 1.0 - 1e-9:
            owed -= 1.0
            out = step()
        return out

    return longer


#: Runs one burst of so many iterations, with whatever preparation the program needs, outside the timed region.
RunBurst = Callable[[int], Burst]


@dataclass(frozen=True)
class WarmUpResult:
    """``iteration_ns`` is the median of the last window; ``steady`` says whether its two halves agreed."""

    iterations: int
    wall_ns: int
    steady: bool
    iteration_ns: float


#: Samples in the warm-up's window: two halves of four, so that a median in each half survives one outlier.
WINDOW = 8
#: Two half-windows agree when their medians differ by less than this.
AGREEMENT = 0.05
#: A warm-up sample is a burst of about this long, so that the clock does not dominate it.
SAMPLE_NS = 1_000_000
#: Samples and bursts last at least this many times the cost of their fence.
FENCE_SHARE = 20


def warm_up(run: RunBurst, limit_ns: int, fence_ns: float = 0.0, limit_iterations: int = 1_000_000) -> WarmUpResult:
    """Iterate until two half-windows agree, or until time (summed burst time, in ns) or count runs out.

    With a dear fence (0.5 ms in JAX on a GPU) a sample of few iterations times the fence: samples grow until it does
    not matter, however short an iteration is.
    """
    sample_ns = max(SAMPLE_NS, FENCE_SHARE * fence_ns)
    iterations = 1
    total_iterations = total_ns = 0
    samples: list[float] = []
    while True:
        sample = run(iterations)
        total_iterations += sample.iterations
        total_ns += sample.wall_ns
        samples.append(sample.iteration_ns)
        # By the whole sample, fence included: by the time of one iteration, the fence would keep it at one.
        iterations = max(1, int(sample.iterations * sample_ns / max(sample.wall_ns, 1)))
        window = samples[-WINDOW:]
        steady = len(window) == WINDOW and _halves_agree(window)
        if steady or total_ns >= limit_ns or total_iterations >= limit_iterations:
            return WarmUpResult(total_iterations, total_ns, steady, statistics.median(window))


def _halves_agree(window: list[float]) -> bool:
    first = statistics.median(window[: len(window) // 2])
    second = statistics.median(window[len(window) // 2 :])
    return abs(second - first) <= AGREEMENT * min(first, second)


def burst_size(iteration_ns: float, fence_ns: float, burst_ns: int) -> int:
    """Iterations so that a burst lasts ``burst_ns`` and at least 20 times its fence."""
    return max(1, -(-int(max(burst_ns, FENCE_SHARE * fence_ns)) // max(1, int(iteration_ns))))


#: Less than this share of the host read's time: the barrier returned before the work was done.
FAKE_FENCE = 0.5
#: The calls of a chain must return in less than this share, so that a barrier that does nothing is clearly below the
#: other one: JAX's at 2048 x 2048 on an H100 took 0.498 where its calls did.
TELLING = 0.25


@dataclass(frozen=True)
class FenceTest:
    """``kind`` is ``barrier`` when the framework's own barrier holds, ``host-read`` when it was found to be a no-op.

    Of one chain of ``iterations`` steps, in ns: ``issued_ns`` until the last call returned, ``fenced_ns`` until the
    barrier did, ``host_read_ns`` until a value that depends on the last step could be read.
    """

    kind: str
    iterations: int
    issued_ns: int
    fenced_ns: int
    host_read_ns: int


def is_telling(issued_ns: int, host_read_ns: int) -> bool:
    """Most work was still going on when the last call of a chain had returned: a barrier had something to wait for.

    Not so where a framework computes before it returns, and not with steps that are shorter than their launch: a
    barrier that does nothing cannot be found with those.
    """
    return issued_ns < TELLING * host_read_ns


def check_fence(step: Callable[[], Any], barrier: Fence, host_read: Fence, clock: Clock, chain_ns: int) -> FenceTest:
    """Time a long chain three times: not ended at all, by the barrier alone, by reading a value that depends on it.

    A barrier that returns long before the value can be read does not wait; then ``kind`` is ``host-read`` and
    everything must be timed through host reads. Best of three each, so that one preemption decides nothing.
    """
    host_read(step())
    iterations = 1
    while True:
        probe = burst(step, host_read, iterations, clock)
        if probe.wall_ns >= chain_ns or iterations >= 1 << 16:
            break
        iterations *= 2

    def ended_by(fence: Fence) -> int:
        """The chain's time; the queue is empty again afterwards, whether or not ``fence`` waits."""
        last: list[Any] = []

        def end(out: Any) -> None:
            fence(out)
            last.append(out)

        wall_ns = burst(step, end, iterations, clock).wall_ns
        host_read(last[0])
        return wall_ns

    times = [(ended_by(lambda out: None), ended_by(barrier), ended_by(host_read)) for _ in range(3)]
    issued, fenced, read = map(min, zip(*times, strict=True))
    kind = "host-read" if fenced < FAKE_FENCE * read else "barrier"
    return FenceTest(kind, iterations, issued, fenced, read)


@dataclass(frozen=True)
class ScalingTest:
    """``factor`` times the iterations took ``ratio`` times the wall time."""

    factor: int
    ratio: float


#: From this iteration time on, the scaling test uses the fewest iterations it can.
SLOW_NS = 250_000_000


#: Less than this share of the added work took its time: the clock stopped early, or the work was not done.
SCALING_SHARE = 0.25
#: From this share on nobody need look again.
CLEAR_SHARE = 0.75
#: Pairs of bursts of which the fastest count, at most; fewer, but three, where they take longer than so much wall time.
SCALING_REPEATS, SLOW_REPEATS = 8, 3
SCALING_NS = 20_000_000_000


def added_share(factor: int, ratio: float) -> float:
    """Share of the work added by ``factor`` that took its time: 1 where all of it was done, 0 where none was.

    Not the ratio over the factor: work that is done once keeps a ratio of 1, which is a third of 3 but half of 2.
    """
    return (ratio - 1) / (factor - 1)


def check_scaling(run: RunBurst, iterations: int, iteration_ns: float) -> ScalingTest:
    """Does wall time grow with the work? It does not where results are cached, or only the last call is computed.

    A neighbour only ever adds time, and may add more to all the short bursts than to a long one, or the other way
    round; so the least of each counts, and what is not clear at once is taken again. Work that was not done looks so
    however often it is timed.
    """
    if iteration_ns >= SLOW_NS:
        factor, base, least = 2, 1, 1
    else:
        # Not 1: the first dispatch of a burst overlaps with nothing, and was about half of such a burst on a GPU.
        factor, base, least = 3, max(2, iterations // 3), 2
    short = long = math.inf
    spent_ns = 0
    for turn in range(1, SCALING_REPEATS + 1):
        pair = run(base).wall_ns, run(base * factor).wall_ns
        short, long, spent_ns = min(short, pair[0]), min(long, pair[1]), spent_ns + sum(pair)
        clear = turn >= least and added_share(factor, long / max(short, 1)) >= CLEAR_SHARE
        if clear or (turn >= SLOW_REPEATS and spent_ns > SCALING_NS):
            break
    return ScalingTest(factor, long / max(short, 1))


def best_rate(run: RunBurst, work: float, budget_ns: int, in_flight_ns: int) -> float:
    """The best rate seen, in units of ``work`` per second: a ceiling is a maximum, so the fastest repeat counts.

    Bursts last ``in_flight_ns`` or one iteration, whichever is longer, and together about ``budget_ns``.
    """
    spent = 0
    best = float("inf")
    iterations = 1
    while spent < budget_ns:
        sample = run(iterations)
        spent += max(sample.wall_ns, 1)
        best = min(best, max(sample.iteration_ns, 1e-3))
        iterations = max(iterations, min(1 << 12, int(in_flight_ns / best)))
    return work / (best * 1e-9)
