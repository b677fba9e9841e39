"""PELT with the l1 cost, on as many nights as a regime shows: ruptures, with the cost of all segments found at once.

Ruptures finds the cost of one segment after the other with ``numpy.median``, a call of which takes many times what its
arithmetic does on a few dozen nights.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.medians import trailing_medians
from bench.stats import Floats


class SegmentCosts:
    """The sum of distances from the segment's median: that of ``ruptures.costs.CostL1``, to the last bit."""

    model = "l1"

    def __init__(self, min_size: int) -> None:
        self.min_size = min_size

    def fit(self, signal: Floats) -> SegmentCosts:
        """Find the cost of every segment of ``signal``, shape (nights,)."""
        self.signal = signal
        medians = trailing_medians(signal, signal.size)
        self._costs = [np.empty(0)]  # [nights][start]
        for count in range(1, signal.size + 1):
            distances = np.abs(sliding_window_view(signal, count) - medians[count, count - 1 :, None])
            self._costs.append(np.ascontiguousarray(distances).sum(axis=1))
        return self

    def error(self, start: int, end: int) -> float:
        """The cost of the nights from ``start`` to before ``end``."""
        return float(self._costs[end - start][start])


def segments(values: Floats, penalty: float, min_size: int) -> list[int]:
    """The first index of every segment but the first."""
    # Late: ruptures loads half of SciPy, and most nights say nothing to PELT.
    from ruptures import Pelt
    from ruptures.base import BaseCost

    BaseCost.register(SegmentCosts)
    algorithm = Pelt(custom_cost=SegmentCosts(min_size), min_size=min_size, jump=1).fit(values)
    return [int(end) for end in algorithm.predict(pen=penalty)[:-1]]
