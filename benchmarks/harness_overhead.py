"""What the timed loop costs, beside the bare call and beside pytest-benchmark's pedantic mode.

    python -m benchmarks.harness_overhead [--processes 7]

Each fresh process takes the step and the fence of the scripted framework (its virtual clock aside: all times here are
real) and measures what one iteration within a burst, and one latency sample (a burst of one), cost more than the bare
calls. pytest-benchmark's own fixture, in its own pytest, is driven with as many rounds and iterations on the same step.
Best of many repeats in a process, since every disturbance only adds; median and range over processes.
Goal: 150 ns an iteration, 2 us a sample.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from bench import timing
from bench.frameworks.base import Job
from bench.frameworks.fake import Fake
from bench.workload import get

ITERATIONS = 5_000
SAMPLES = 1_000
REPEATS = 40

#: Runs under a real pytest: the fixture times itself, and we time the fixture.
PEDANTIC = """
from time import perf_counter_ns
from benchmarks.harness_overhead import ITERATIONS, REPEATS, RESULTS, SAMPLES, scripted
import pytest

@pytest.mark.parametrize("repeat", range(REPEATS))
@pytest.mark.parametrize("rounds,iterations", [(1, ITERATIONS), (SAMPLES, 1)])
def test_pedantic(benchmark, rounds, iterations, repeat):
    step, fence = scripted()
    target = step if rounds == 1 else lambda: fence(step())
    began = perf_counter_ns()
    benchmark.pedantic(target, rounds=rounds, iterations=iterations)
    wall = (perf_counter_ns() - began) / (rounds * iterations)
    RESULTS.append((rounds, wall, benchmark.stats.stats.min * 1e9))
"""
#: (rounds, wall ns of a call, reported ns of a call) of each repeat of PEDANTIC.
RESULTS: list[tuple[int, float, float]] = []


def scripted() -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Step and fence of the scripted framework."""
    fake, workload = Fake(), get("mlp")
    config = workload.sizes["tiny-test"].config
    fake.open("cpu", 1)
    weights, inputs = workload.weights(config, 0), workload.inputs(config, "inference", 4, 0)
    twin = fake.load_twin("mlp")
    job = Job(twin, config, "inference", None, "fp32", "eager", weights, inputs)
    return fake.program(job).step, fake.barrier


def per_call_ns(call: Callable[[], Any], calls: int) -> float:
    """Nanoseconds of ``call`` in the barest loop there is, that loop taken off."""

    def loop(body: Callable[[], Any] | None) -> int:
        turns = repeat(None, calls)
        began = perf_counter_ns()
        if body is None:
            for _ in turns:
                pass
        else:
            for _ in turns:
                body()
        return perf_counter_ns() - began

    return (loop(call) - min(loop(None) for _ in range(3))) / calls


def measure() -> dict[str, float]:
    """All figures of one process."""
    import pytest

    step, fence = scripted()
    bare = within = bare_fenced = sample = float("inf")
    for _ in range(REPEATS):  # in turns, so that a slow moment of the machine meets all four
        bare = min(bare, per_call_ns(step, ITERATIONS))
        within = min(within, timing.burst(step, fence, ITERATIONS).wall_ns / ITERATIONS)
        bare_fenced = min(bare_fenced, per_call_ns(lambda: fence(step()), SAMPLES))
        sample = min(sample, per_call_ns(lambda: timing.burst(step, fence, 1), SAMPLES))
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test_pedantic.py"
        test.write_text(PEDANTIC)
        options = [
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "--benchmark-quiet",
            "--rootdir",
            folder,
            "-c",
            "/dev/null",
        ]
        if pytest.main([*options, str(test)]) != 0:
            raise SystemExit("pytest-benchmark did not run")
    # The module as pytest imported it: this one is __main__.
    results = importlib.import_module("benchmarks.harness_overhead").RESULTS

    pedantic = min(reported for rounds, _, reported in results if rounds == 1)
    pedantic_round = min(wall for rounds, wall, _ in results if rounds > 1)
    return {
        "ns an iteration in a burst, over the bare call": within - bare,
        "ns an iteration in pedantic, over the bare call": pedantic - bare,
        "us a latency sample, over the bare call and fence": (sample - bare_fenced) / 1e3,
        "us a pedantic round of one, over the bare call and fence": (pedantic_round - bare_fenced) / 1e3,
    }


def main() -> None:
    """Measure in fresh processes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--one", action="store_true", help="measure in this process and print JSON last")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure()))
        return
    command = [sys.executable, "-m", "benchmarks.harness_overhead", "--one"]
    outputs = [subprocess.check_output(command, text=True) for _ in range(options.processes)]
    runs = [json.loads(output.splitlines()[-1]) for output in outputs]
    print(f"{options.processes} fresh processes: median (lowest to highest)")
    for name in runs[0]:
        values = sorted(run[name] for run in runs)
        print(f"{statistics.median(values):9.2f} ({values[0]:.2f} to {values[-1]:.2f})  {name}")


if __name__ == "__main__":
    main()
