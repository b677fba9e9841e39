"""Record noise for ``twinbench selftest --noise FILE``: what this machine does to a program that is always the same.

    python -m benchmarks.record_noise quiet.jsonl.gz [--blocks 60] [--processes 120] [--load 0] [--one-core]
    python -m benchmarks.record_noise live.jsonl.gz --runs results/selftest [--every 3]

The program is a product of NumPy matrices in float64 on one thread, 512 x 512 times 512 x 512, 5 to 10 ms. A block is
four fresh processes at once that take turns in random order, ten rounds of six iterations: ``A`` and ``A2`` are the
same, ``B5`` has 538 rows (5.1 % more work) and ``B10`` has 563 (10 %). A process alone is timed for 0.3 s. ``--load``
keeps so many other processes busy all the while; ``--one-core`` records as ``twinbench compare`` measures on one
thread: all four on one core, a random one in each block, and one iteration each in turn.

``--runs`` records nothing, but writes the blocks in which these runs compared a cell with itself, or every third.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import affinity, recordings
from bench.recordings import CLOCKS

#: Rows of the left matrix of each side.
ROWS = {"A": 512, "A2": 512, "B5": 538, "B10": 563}
ROUNDS, ITERATIONS, WARM_UP = 10, 6, 3
ALONE_S = 0.3

#: A process: told how many iterations, answers with their wall and CPU times in ns.
PROGRAM = """
import json, sys, time
import numpy as np
random = np.random.RandomState(0)
a, b = random.random_sample((int(sys.argv[1]), 512)), random.random_sample((512, 512))
out = a @ b
for line in sys.stdin:
    wall, cpu = [], []
    for _ in range(int(line)):
        w, c = time.perf_counter_ns(), time.thread_time_ns()
        np.matmul(a, b, out=out)
        wall.append(time.perf_counter_ns() - w)
        cpu.append(time.thread_time_ns() - c)
    print(json.dumps([wall, cpu]), flush=True)
"""
BUSY = "while True: pass"


class Side:
    """A process of the program."""

    def __init__(self, rows: int) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, iterations: int) -> list[list[int]]:
        """[wall ns of each, CPU ns of each]."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(iterations, file=self.process.stdin, flush=True)
        answer: list[list[int]] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it: no more lines come."""
        with self.process:
            pass


def block(order: random.Random, one_core: bool) -> dict[str, list[list[list[int]]]]:
    """Side -> rounds of [wall ns, CPU ns]."""
    with ExitStack() as stack:
        sides = {name: Side(rows) for name, rows in ROWS.items()}
        for side in sides.values():
            stack.callback(side.close)
        if one_core:
            cpu = order.choice(affinity.usable_cpus())
            for side in sides.values():
                affinity.stay_on(side.process.pid, cpu)
        for side in sides.values():
            side.run(WARM_UP)
        turns = ROUNDS * ITERATIONS if one_core else ROUNDS
        rounds: dict[str, list[list[list[int]]]] = {name: [] for name in ROWS}
        names = list(ROWS)
        for _ in range(turns):
            order.shuffle(names)
            for name in names:
                rounds[name].append(sides[name].run(ROUNDS * ITERATIONS // turns))
        return rounds


def alone() -> list[int]:
    """Wall times in ns of one process."""
    side = Side(ROWS["A"])
    try:
        side.run(WARM_UP)
        end, times = time.monotonic() + ALONE_S, list[int]()
        while time.monotonic() < end:
            times += side.run(1)[0]
        return times
    finally:
        side.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def lines(blocks: int, processes: int, load: int, one_core: bool, seed: int) -> Iterator[dict[str, Any]]:
    """What stands in the file, line by line; the two kinds in one shuffled order, so that both see every hour."""
    order = random.Random(seed)
    kinds = ["block"] * blocks + ["process"] * processes
    order.shuffle(kinds)
    about = {"load_processes": load, "one_core": one_core}
    with busy(load):
        for kind in kinds:
            now = {"t": time.time(), **about}
            yield {"rec": block(order, one_core), **now} if kind == "block" else {"v": alone(), **now}


def of_runs(folder: Path, every: int) -> Iterator[dict[str, Any]]:
    """Blocks of live comparisons as lines; who began a turn is lost. ns of an item, as verdicts take them."""
    noises = recordings.read(folder)
    if len(noises) > 1:
        raise SystemExit(f"{folder}: {len(noises)} cells; a recording is of one")
    for found in noises[0].blocks[::every]:
        sides = {name: [[[float(f"{t:.6g}")] for t in turns.ns[c]] for c in CLOCKS] for name, turns in found.items()}
        yield {"rec": {name: [list(turn) for turn in zip(*times, strict=True)] for name, times in sides.items()}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file line by line; Ctrl-C leaves what is there, which is a recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--processes", type=int, default=120)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--every", type=int, default=1)
    asked = parser.parse_args(arguments)
    if asked.one_core and not affinity.usable_cpus():
        parser.error("--one-core: this system keeps no process on a core")
    with gzip.open(asked.file, "wt", encoding="utf-8") as file:
        made = lines(asked.blocks, asked.processes, asked.load, asked.one_core, asked.seed)
        for line in of_runs(asked.runs, asked.every) if asked.runs else made:
            file.write(json.dumps(line) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
