"""What is said of a rate: by its interval, and that few trials are few."""

from __future__ import annotations

import pytest

from bench.rate_words import row, words
from bench.rates import Rate


def rate(hits: int, trials: int, demand: tuple[float, float] | None) -> Rate:
    """So many of so many."""
    return Rate("twinbench", "made up", "slower", 0.05, "simulated", 20, hits, trials, demand=demand)


@pytest.mark.parametrize(
    ("hits", "trials", "demand", "holds", "few"),
    [
        (76, 100, (0.8, 1.0), True, True),  # 67 to 83 %: neither missed nor shown
        (70, 100, (0.8, 1.0), False, False),  # 60 to 78 %
        (95, 100, (0.8, 1.0), True, False),
        (3, 100, (0.0, 0.02), True, True),  # 1 to 8 %
        (8, 100, (0.0, 0.02), False, False),
        (0, 400, (0.0, 0.02), True, False),
        (0, 4, (0.0, 0.02), True, True),
        (4, 4, None, None, False),
    ],
)
def test_a_demand_is_missed_where_the_interval_excludes_it(
    hits: int, trials: int, demand: tuple[float, float] | None, holds: bool | None, few: bool
) -> None:
    found = rate(hits, trials, demand)
    assert (found.holds, found.few) == (holds, few)
    assert ("too few trials" in words(found)[-1]) is few
    assert (row(found)["holds"], row(found)["few"]) == (holds, few)
