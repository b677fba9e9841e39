"""Ceilings on the scripted framework's clock: when the products are taken again, and when not."""

from __future__ import annotations

import pytest

from bench import ceilings, timing
from bench.ceilings import Ceilings
from bench.frameworks.fake import RATE, Fake

#: What the scripted product reaches.
PRODUCT = 1.5 * RATE["cpu"]


@pytest.fixture
def framework() -> Fake:
    """Open, on its CPU."""
    found = Fake()
    found.open("cpu", 1)
    return found


@pytest.fixture
def measured(framework: Fake) -> Ceilings:
    """Ceilings that were measured once."""
    found = Ceilings(framework)
    found.test_fence()
    found.measure_gemm(("fp32", "bf16", "fp32"))
    return found


#: FLOP/s of a GPU that has done a product of 256 x 256 before the host has launched the next.
LAUNCH_BOUND = 5e13
#: And of one whose small product takes twice the time of its launch.
HALF_BOUND = 5.4e12


def fence_found(behaviour: str, rate: float) -> timing.FenceTest:
    """The self-test on a scripted device of that rate."""
    framework = Fake(behaviour)
    framework.open("cuda", 1)
    framework.rate = rate
    return Ceilings(framework).test_fence()


@pytest.mark.parametrize("rate", [RATE["cuda"], HALF_BOUND, LAUNCH_BOUND])
def test_a_barrier_is_tested_with_work_that_outlasts_its_launch(rate: float) -> None:
    """Seen on an H100: chains of small products took 35.4 ms with a dead barrier, and 35.0 ms with a host read."""
    for behaviour, kind in (("fake", "barrier"), ("fake-never-syncing", "host-read")):
        found = fence_found(behaviour, rate)
        assert found.kind == kind
        assert timing.is_telling(found.issued_ns, found.host_read_ns)
        if kind == "host-read":
            assert found.fenced_ns < timing.FAKE_FENCE * found.host_read_ns / 2, "no near thing"


def test_with_small_products_alone_a_dead_barrier_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur of the test above: the check as it was."""
    monkeypatch.setattr(ceilings, "_larger", lambda size, rate: None)
    found = fence_found("fake-never-syncing", LAUNCH_BOUND)
    assert found.kind == "barrier"
    assert not timing.is_telling(found.issued_ns, found.host_read_ns)


def test_what_computes_before_it_returns_has_nothing_to_wait_for(framework: Fake) -> None:
    """As torch on a CPU: no larger product tells more, and trying takes a second at most."""
    enqueue = framework.device.enqueue

    def at_once(cost_ns: float) -> int:
        framework.device.now = enqueue(cost_ns)
        return framework.device.now

    framework.device.enqueue = at_once  # type: ignore[method-assign]
    before = framework.clock()
    found = Ceilings(framework).test_fence()
    assert found.kind == "barrier"
    assert not timing.is_telling(found.issued_ns, found.host_read_ns)
    assert framework.clock() - before < 1_000_000_000


def test_the_products_of_both_precisions_are_measured_once(measured: Ceilings) -> None:
    assert measured.gemm_rates_flops_per_s == pytest.approx({"fp32": PRODUCT, "bf16": PRODUCT}, rel=0.02)
    assert measured.gemm_reply()["gemm_flops_per_s"] == max(measured.gemm_rates_flops_per_s.values())


def test_a_cell_that_is_possible_costs_no_further_product(measured: Ceilings, framework: Fake) -> None:
    """On a GPU products of XLA reach 1.03 times the ceiling, and each takes seconds to tune."""
    before = framework.clock()
    measured.measure_below(1.2 * PRODUCT)
    assert framework.clock() == before


def test_an_impossible_cell_stays_so_and_costs_a_bounded_time(measured: Ceilings, framework: Fake) -> None:
    before = framework.clock()
    measured.measure_below(10 * PRODUCT)
    spent = framework.clock() - before
    assert ceilings.RETRIES * ceilings.CEILING_NS < spent < ceilings.RETRY_NS
    assert measured.gemm_reply()["gemm_flops_per_s"] == pytest.approx(PRODUCT, rel=0.02)


def test_products_that_take_long_are_not_taken_often(
    measured: Ceilings, framework: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def slow(words: object) -> None:
        taken.append(str(words))
        framework.device.now += ceilings.RETRY_NS

    monkeypatch.setattr(measured, "measure_gemm", slow)
    measured.measure_below(10 * PRODUCT)
    assert len(taken) == 2


def test_a_lower_product_does_not_lower_a_ceiling(measured: Ceilings, framework: Fake) -> None:
    before = dict(measured.gemm_rates_flops_per_s)
    framework.device.slowdown = 3.0
    measured.measure_gemm(("fp32",))
    assert measured.gemm_rates_flops_per_s == before


def test_a_barrier_that_does_not_wait_is_replaced(framework: Fake) -> None:
    lying = Fake("fake-never-syncing")
    lying.open("cpu", 1)
    assert Ceilings(framework).test_fence().kind == "barrier"
    liar = Ceilings(lying)
    assert liar.test_fence().kind == "host-read"
    liar.measure_gemm(("fp32",))
    assert liar.gemm_rates_flops_per_s["fp32"] == pytest.approx(PRODUCT, rel=0.02)
