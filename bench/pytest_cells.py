"""The test that ``bench.pytest_plugin`` runs once per cell; collected only by that plugin."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cell import Cell
from bench.exports.pytest_benchmark import benchmark_info
from bench.labels import plausible
from bench.member import Member
from bench.plan import PROFILES
from bench.pytest_plugin import BurstTimer, make_ready, reason_of_the_end

TIMER = BurstTimer()
BURSTS = PROFILES["quick"].bursts


@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # where the cell cannot be measured
@pytest.mark.benchmark(timer=TIMER, disable_gc=False, warmup=False)
def test_cell(benchmark: Any, twinbench_cell: Cell, twinbench_member: Member) -> None:
    """Rounds are bursts; a round's time is that of one iteration. A timing that cannot be true fails."""

    make_ready(twinbench_member)

    def one_burst() -> None:
        TIMER.now_s += twinbench_member.burst()

    benchmark.group = "/".join(map(str, twinbench_cell.work))
    benchmark.has_error = True  # until proven otherwise: pytest-benchmark saves no benchmark that has one
    with reason_of_the_end(twinbench_member):
        benchmark.pedantic(one_burst, rounds=BURSTS, iterations=1)
        twinbench_member.complete()
    record = twinbench_member.record()
    if not plausible(record.labels):
        pytest.fail(f"the timing cannot be true: {', '.join(record.labels)}", pytrace=False)
    benchmark.has_error = False
    benchmark.extra_info.update(benchmark_info(record))
