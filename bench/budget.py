"""The time that a night may take: ``twinbench nightly --hours``. A night that is cut off has no points at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.errors import UsageError

#: Of the budget, what the first measurements leave for measuring strange cells again.
AGAIN_SHARE = 0.15


@dataclass(frozen=True)
class Budget:
    """``hours`` from now by ``clock`` (seconds); None: as long as it takes.

    Raises:
        UsageError: no number of hours above 0.
    """

    hours: float | None = None
    clock: Callable[[], float] = field(default=time.monotonic, compare=False)
    began_s: float = field(init=False)

    def __post_init__(self) -> None:
        if self.hours is not None and not (math.isfinite(self.hours) and self.hours > 0):
            raise UsageError(f"--hours must be a number above 0, got {self.hours:g}")
        object.__setattr__(self, "began_s", self.clock())

    def part(self, first: bool) -> Part:
        """What the first measurements may take, or the second ones."""
        if self.hours is None:
            return Part(math.inf, self.clock)
        share = 1 - AGAIN_SHARE if first else 1.0
        return Part(self.began_s + share * self.hours * 3600, self.clock)


class Part:
    """The time until ``ends_s`` by ``clock``, for cells of so many rounds of blocks."""

    def __init__(self, ends_s: float, clock: Callable[[], float]) -> None:
        self._ends_s, self._clock = ends_s, clock
        self._began_s = clock()

    @property
    def is_over(self) -> bool:
        """Whether no further block is begun."""
        return self._clock() >= self._ends_s

    def admits(self, rounds: int) -> bool:
        """In the first round: whether the cells that have had their block, and one more, can have ``rounds`` of them.

        A first block takes longest (it makes references), so this errs on the side of fewer cells with enough blocks.
        """
        spent_s = self._clock() - self._began_s
        return spent_s == 0 or rounds * spent_s < self._ends_s - self._began_s
