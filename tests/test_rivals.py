"""The rules of others, on runs whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from bench.rivals import RIVALS, Rival
from bench.stats import Floats


def run(rival: Rival, time_ns: float, seed: int) -> list[Floats]:
    """Quiet processes of 40 iterations."""
    random = np.random.RandomState(seed)
    return [random.normal(time_ns, time_ns / 1000, 40) for _ in range(rival.processes)]


@pytest.mark.parametrize("rival", RIVALS.values(), ids=lambda rival: rival.name)
def test_a_fifth_is_a_change_and_the_same_times_are_none(rival: Rival) -> None:
    random = np.random.RandomState(0)
    before = run(rival, 1e6, 1)
    assert rival.changed(before, run(rival, 1.2e6, 2), random)
    assert not rival.changed(before, before, random)


def test_thresholds_are_the_documented_ones() -> None:
    random = np.random.RandomState(0)

    def flags(name: str, factor: float) -> bool:
        rival = RIVALS[name]
        before = run(rival, 1e6, 1)
        return rival.changed(before, [times * factor for times in before], random)

    assert (flags("pytest-benchmark mean:5%", 1.04), flags("pytest-benchmark mean:5%", 1.06)) == (False, True)
    assert flags("pytest-benchmark mean:5%", 0.5) is False, "it fails on slower only"
    assert (flags("asv", 1.09), flags("asv", 1.11)) == (False, True)
    assert (flags("criterion", 1.005), flags("criterion", 1.02)) == (False, True)
    assert flags("google-benchmark U test", 1.005) is True, "no threshold for the size"
    assert flags("pyperf", 1.005) is True
