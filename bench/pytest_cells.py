"""The test that ``bench.pytest_plugin`` runs once per cell; collected only by that plugin."""

from __future__ import annotations

from typing import Any

import pytest

from bench.block import Member
from bench.cell import Cell
from bench.exporting import benchmark_info
from bench.plan import PROFILES
from bench.pytest_plugin import BurstTimer, make_ready

TIMER = BurstTimer()
BURSTS = PROFILES["quick"].bursts


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # where the cell cannot be measured
@pytest.mark.benchmark(timer=TIMER, disable_gc=False, warmup=False)
def test_cell(benchmark: Any, twinbench_cell: Cell, twinbench_member: Member) -> None:
    """Rounds are bursts; a round's time is that of one iteration."""

    make_ready(twinbench_member)

    def one_burst() -> None:
        TIMER.now_s += twinbench_member.burst()

    benchmark.group = "/".join(map(str, twinbench_cell.work))
    benchmark.pedantic(one_burst, rounds=BURSTS, iterations=1)
    twinbench_member.complete()
    benchmark.extra_info.update(benchmark_info(twinbench_member.record()))
