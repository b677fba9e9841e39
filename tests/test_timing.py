"""The timed loop and the checks of its validity, on a virtual clock: exact numbers, no waiting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from bench import timing


class Queue:
    """An asynchronous device on a clock that only moves when told. Times in ns."""

    def __init__(self, cost: int = 1_000, enqueue: int = 10) -> None:
        self.now = self.done = 0
        self.cost, self.enqueue = cost, enqueue

    def clock(self) -> int:
        return self.now

    def step(self) -> int:
        self.now += self.enqueue
        self.done = max(self.now, self.done) + self.cost
        return self.done

    def wait(self, out: Any) -> None:
        self.now = max(self.now, self.done)

    def burst(self, iterations: int) -> timing.Burst:
        return timing.burst(self.step, self.wait, iterations, self.clock, self.clock)


def test_burst_times_the_work_and_not_the_enqueue() -> None:
    queue = Queue(cost=1_000, enqueue=10)
    assert queue.burst(100).wall_ns == 10 + 100 * 1_000
    without_fence = timing.burst(queue.step, lambda out: None, 100, queue.clock, queue.clock)
    assert without_fence.wall_ns == 100 * 10, "this is what a forgotten fence measures"


def test_burst_fences_the_last_output() -> None:
    outputs = iter(range(1, 100))
    fenced: list[Any] = []
    timing.burst(lambda: next(outputs), fenced.append, 7)
    assert fenced == [7]


def test_cpu_time_is_none_unless_it_is_asked_for() -> None:
    queue = Queue()
    assert timing.burst(queue.step, queue.wait, 3, queue.clock).cpu_ns is None
    assert timing.burst(queue.step, queue.wait, 3, queue.clock, queue.clock).cpu_ns == 10 + 3 * 1_000


@pytest.mark.parametrize("iterations", [0, -3])
def test_burst_refuses_no_iterations(iterations: int) -> None:
    with pytest.raises(ValueError, match=str(iterations)):
        timing.burst(lambda: None, lambda out: None, iterations)


def test_warm_up_ends_when_two_half_windows_agree() -> None:
    queue = Queue(cost=2_000_000)
    warm = timing.warm_up(queue.burst, limit_ns=10**12)
    assert warm.steady
    assert warm.iterations == timing.WINDOW
    assert warm.iteration_ns == pytest.approx(2_000_000, rel=1e-4)


def test_warm_up_waits_out_a_slow_start() -> None:
    queue = Queue()
    costs = iter([9_000_000, 8_000_000, 7_000_000, 6_000_000, 5_000_000, 4_000_000, 3_000_000])

    def run(iterations: int) -> timing.Burst:
        queue.cost = next(costs, 2_000_000)
        return queue.burst(iterations)

    warm = timing.warm_up(run, limit_ns=10**12)
    assert warm.steady
    assert warm.iteration_ns == pytest.approx(2_000_000, rel=1e-4)
    assert warm.iterations > timing.WINDOW


def test_a_neighbour_beside_the_short_bursts_does_not_make_honest_work_implausible() -> None:
    queue, delays = Queue(cost=20_000), iter([9_000_000, 0, 9_000_000, 0, 9_000_000, 0, 0, 0])

    def run(iterations: int) -> timing.Burst:
        found = queue.burst(iterations)
        return found._replace(wall_ns=found.wall_ns + next(delays, 0))

    found = timing.check_scaling(run, 60, 20_000)
    assert found.ratio == pytest.approx(3, rel=0.01)


def test_a_neighbour_beside_the_long_bursts_does_not_make_skipped_work_plausible() -> None:
    """Both first long bursts twice as long, as on a core whose other half wakes up: a ratio of 2, then 1."""
    turns = itertools.count()

    def lazy(iterations: int) -> timing.Burst:
        turn = next(turns)
        return timing.Burst(iterations, 2_000_000 if turn in (1, 3) else 1_000_000, 0, 0)

    found = timing.check_scaling(lazy, 60, 20_000)
    assert found.ratio == 1
    assert timing.added_share(found.factor, found.ratio) < timing.SCALING_SHARE


@pytest.mark.parametrize(("factor", "ratio", "share"), [(3, 3.0, 1.0), (3, 1.0, 0.0), (2, 1.0, 0.0), (2, 1.5, 0.5)])
def test_share_of_the_added_work(factor: int, ratio: float, share: float) -> None:
    assert timing.added_share(factor, ratio) == share


def test_a_dear_fence_is_not_taken_for_the_work() -> None:
    fence_ns, queue = 500_000, Queue(cost=30_000)

    def run(iterations: int) -> timing.Burst:
        def fence(out: Any) -> None:
            queue.wait(out)
            queue.now += fence_ns

        return timing.burst(queue.step, fence, iterations, queue.clock, queue.clock)

    warm = timing.warm_up(run, 10**12, fence_ns)
    assert warm.steady
    assert warm.iteration_ns == pytest.approx(30_000, rel=0.06)
    chosen = timing.burst_size(warm.iteration_ns, fence_ns, burst_ns=10_000_000)
    assert run(chosen).iteration_ns == pytest.approx(30_000, rel=0.06)
    unaware = timing.warm_up(run, 10**12)
    assert unaware.iteration_ns > 36_000, "samples of 1 ms time the fence as well"


def test_warm_up_that_never_gets_steady_says_so() -> None:
    queue = Queue()

    def run(iterations: int) -> timing.Burst:
        queue.cost = int(1.5 * queue.cost)
        return queue.burst(iterations)

    warm = timing.warm_up(run, limit_ns=10**9)
    assert not warm.steady
    assert warm.wall_ns >= 10**9


@pytest.mark.parametrize(
    ("iteration_ns", "fence_ns", "burst_ns", "expected"),
    [
        (1_000, 100, 50_000_000, 50_000),  # by the length of the burst
        (1_000, 5_000_000, 50_000_000, 100_000),  # by 20 times the fence
        (2e9, 100, 50_000_000, 1),  # slower than a burst
    ],
)
def test_burst_size(iteration_ns: float, fence_ns: float, burst_ns: int, expected: int) -> None:
    assert timing.burst_size(iteration_ns, fence_ns, burst_ns) == expected


def _fence_kind(barrier: Callable[[Queue], Callable[[Any], None]]) -> str:
    queue = Queue(cost=100_000)
    return timing.check_fence(queue.step, barrier(queue), queue.wait, queue.clock, 20_000_000).kind


def test_a_barrier_that_waits_is_trusted() -> None:
    assert _fence_kind(lambda queue: queue.wait) == "barrier"


def test_a_barrier_that_does_not_wait_is_found() -> None:
    assert _fence_kind(lambda queue: lambda out: None) == "host-read"


def test_time_grows_with_the_work() -> None:
    queue = Queue(cost=1_000_000)
    found = timing.check_scaling(queue.burst, 50, 1_000_000)
    assert found.ratio == pytest.approx(found.factor, rel=0.01)


def test_work_that_is_only_done_once_does_not_grow() -> None:
    queue = Queue(cost=1_000_000)

    def lazy(iterations: int) -> timing.Burst:
        queue.burst(1)
        return timing.Burst(iterations, 1_000_000, 0, 0)

    found = timing.check_scaling(lazy, 50, 20_000)
    assert found.ratio == pytest.approx(1.0)
    assert found.factor == 3


def test_slow_work_is_tested_with_the_fewest_iterations() -> None:
    queue = Queue(cost=1_000_000_000)
    counted: list[int] = []

    def run(iterations: int) -> timing.Burst:
        counted.append(iterations)
        return queue.burst(iterations)

    assert timing.check_scaling(run, 1, 1e9).factor == 2
    assert counted == [1, 2]


def test_slow_work_that_is_done_once_is_looked_at_a_few_times_only() -> None:
    counted: list[int] = []

    def lazy(iterations: int) -> timing.Burst:
        counted.append(iterations)
        return timing.Burst(iterations, 5_000_000_000 + len(counted), 0, 0)

    found = timing.check_scaling(lazy, 1, 5e9)
    assert timing.added_share(found.factor, found.ratio) < timing.SCALING_SHARE
    assert counted == [1, 2] * timing.SLOW_REPEATS


def test_a_ceiling_is_the_best_repeat() -> None:
    queue = Queue(enqueue=0)
    costs = iter([4_000, 1_000, 3_000])

    def run(iterations: int) -> timing.Burst:
        queue.cost = next(costs, 5_000)
        return queue.burst(iterations)

    assert timing.best_rate(run, work=2_000.0, budget_ns=30_000, in_flight_ns=1) == pytest.approx(2_000 / 1_000e-9)


def test_a_ceiling_has_several_in_flight_where_one_is_short() -> None:
    queue = Queue(cost=1_000, enqueue=10)
    fence = 9_000

    def run(iterations: int) -> timing.Burst:
        sample = queue.burst(iterations)
        return sample._replace(wall_ns=sample.wall_ns + fence)

    alone = timing.best_rate(run, work=1.0, budget_ns=10_000, in_flight_ns=1)
    assert alone == pytest.approx(1 / 10_010e-9)
    assert timing.best_rate(run, work=1.0, budget_ns=10_000_000, in_flight_ns=1_000_000) > 9 * alone
