"""How ``report``, ``compare`` and the index grow with the store: wall time and peak memory.

    python -m benchmarks.report_scale [--records 1000 10000 100000] [--cells 500] [--keep FOLDER]
    python -m benchmarks.report_scale --nights 10000 100000 1000000

Writes run folders of synthetic but valid records (several KB a line: 40 bursts and 40 latencies), then runs
``python -m bench report RUN`` and ``python -m bench compare RUN_A RUN_B`` on them, each in its own process. In run B
everything is 5 % faster. The budget of issue 2 is 30 s and 1.5 GiB at 100,000 records; exit code 1 beyond it.

``--nights``: so many records in all, 274 a run, which makes ten years of nights of a million, and a point of history
for each of the 91 cells of a night. Measured are the index from the records alone, again after one more night, the
report and ``--recheck`` of that night, ``history`` of one cell, and the verdict on a night. The budget of issue 5 is
60 s and 2 GiB for the first index and the report together, at a million records, which take 5 GB of disk.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from bench import points, record, store
from bench.cell import Cell
from bench.index import MEMORY
from bench.machine import FACTS

ROOT = Path(__file__).resolve().parents[1]
BUDGET_S, BUDGET_BYTES = 30.0, 1.5 * 2**30
NIGHTS_BUDGET_S, NIGHTS_BUDGET_BYTES = 60.0, 2.0 * 2**30
#: A night: 91 cells of three processes, and one record over. A million records are 3,650 nights.
NIGHT = 274
FIRST_NIGHT = datetime(2016, 11, 22, tzinfo=UTC)
BURSTS = 40


@dataclass(frozen=True)
class Cost:
    """What one command took; CPU time too, since wall time grows with whatever else the machine does.

    ``code`` is its exit code: 0, 1 where ``compare`` found something slower, 4 for the cells that failed on purpose.
    """

    command: str
    records: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    code: int


def cells(count: int) -> list[Cell]:
    """``count`` different cells of plausible words."""
    words = product(
        ("tiny-test", "digits", "wide"),
        (("inference", "default"), ("training", "sgd"), ("training", "adam")),
        (1, 8, 64, 256),
        ("torch", "tensorflow", "jax"),
        ("fp32", "fp16", "bf16", "amp-fp16", "amp-bf16"),
        ("eager", "compiled"),
    )
    found = [
        Cell("mlp", size, phase, variant, batch, environment, "cpu", precision, mode)
        for size, (phase, variant), batch, environment, precision, mode in words
    ]
    if count > len(found):
        raise SystemExit(f"at most {len(found)} cells")
    return found[:count]


def records(
    run: str, count: int, chosen: list[Cell], speed: float, seed: int, day: str = "2026-11-22"
) -> Iterator[record.Record]:
    """``count`` records over ``chosen``: one in 50 failed, the rest measured with 3 % between processes."""
    random = np.random.RandomState(seed)
    base_ns = {cell: 1e6 * (1 + number % 37) / speed for number, cell in enumerate(chosen)}
    for number in range(count):
        cell, process = chosen[number % len(chosen)], number // len(chosen)
        measured = number % 50 != 49
        yield record.Record(
            schema=record.SCHEMA_VERSION,
            id=f"{run}-{number:06d}",
            run=run,
            block=f"b{number:06d}",
            process=process,
            cell_id=cell.id,
            cell=cell,
            started_at=f"{day}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
            outcome=record.Measured() if measured else record.Failed("load", "MemoryError", "no room", "log\n" * 20),
            stages_ns={"spawn": 110_000_000, "open": 1_900_000_000, "load": 40_000_000, "first_call": 120_000_000},
            fingerprint=fingerprint(cell),
            measurement=measurement(random, base_ns[cell] * float(np.exp(random.normal(0, 0.03))))
            if measured
            else None,
            verification=record.Verification("numpy-fp64", 2e-6, 2e-5, "sum of 128 terms", {"logits": 2e-6}),
            precision=record.EffectivePrecision(cell.precision, cell.precision, 3e-7, "float32", "float32"),
            labels=["stable" if number % 7 else "noisy"] if measured else [],
        )


def measurement(random: np.random.RandomState, iteration_ns: float) -> record.Measurement:
    """One process: ``BURSTS`` bursts of 50 iterations around ``iteration_ns``, and as many latencies."""
    wall = (50 * iteration_ns * np.exp(random.normal(0, 0.01, BURSTS))).astype(int).tolist()
    starts = np.cumsum(wall).tolist()
    calibration = random.normal(2_000_000, 20_000, 9).astype(int).tolist()
    return record.Measurement(
        item="sample",
        items_per_iteration=64,
        flops_per_iteration=2.1e6,
        bytes_per_iteration=1.4e5,
        bursts=record.Bursts([50] * BURSTS, wall, wall, [0] * BURSTS, starts),
        latency_ns=(iteration_ns * np.exp(random.normal(0.1, 0.05, BURSTS))).astype(int).tolist(),
        warm_up=record.WarmUp(30, int(30 * iteration_ns), True),
        fence=record.Fence("barrier", 900, 51_000_000, 51_200_000),
        scaling=record.Scaling(2, 1.99),
        gemm_flops_per_s=9.1e10,
        copy_bytes_per_s=8.8e9,
        calibration_before_ns=calibration,
        calibration_after_ns=calibration,
    )


def fingerprint(cell: Cell) -> record.Fingerprint:
    """The same machine for all, versions by environment."""
    return record.Fingerprint(
        versions={"python": "3.11.9", "numpy": "2.4.6", cell.environment: "2.0.0"},
        variables={"OMP_NUM_THREADS": "2"},
        device_name="synthetic",
        threads=2,
        machine={"system": "Linux", "cpu": "synthetic", "cores": 2, "memory_bytes": 2**33},
        power={"on_ac": None},
        git_revision=None,
        seed=0,
        weights_sha256="0" * 64,
        inputs_sha256="1" * 64,
    )


def write_run(folder: Path, count: int, chosen: list[Cell], speed: float, seed: int, day: str = "2026-11-22") -> Path:
    """A run folder as ``store`` reads it, written in one go: the cost of writing is not measured here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / store.RUN).write_bytes(msgspec.json.encode({"command": "benchmarks/report_scale.py", "synthetic": True}))
    encoder = msgspec.json.Encoder()
    with (folder / store.RECORDS).open("wb") as file:
        for one in records(folder.name, count, chosen, speed, seed, day):
            file.write(encoder.encode(one) + b"\n")
    return folder


def cost(name: str, count: int, arguments: list[str], program: Sequence[str] = ("-m", "bench")) -> Cost:
    """Run ``python -m bench <arguments>`` and wait for it; peak memory as the kernel counted it for that child."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *program, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    complaint = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - started
    child.stderr.close()
    child.returncode = code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 4):
        raise SystemExit(f"{name} ended with {code}: {complaint.decode(errors='replace')[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(name, count, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, code)


def measure(folder: Path, count: int, chosen: list[Cell]) -> list[Cost]:
    """Both commands on two runs of ``count`` records each; ``compare`` therefore reads twice as many."""
    run_a = write_run(folder / f"a-{count}", count, chosen, speed=1.0, seed=1)
    run_b = write_run(folder / f"b-{count}", count, chosen, speed=1.05, seed=2)
    line_bytes = (run_a / store.RECORDS).stat().st_size / count
    page = folder / f"page-{count}.html"
    found = [
        cost("report", count, ["report", str(run_a), "--out", str(page)]),
        cost("compare", count, ["compare", str(run_a), str(run_b)]),
    ]
    print(f"{count:>8,} records of {line_bytes:,.0f} bytes; page of {page.stat().st_size:,} bytes", flush=True)
    return found


@cache
def log_ratios(series: int) -> list[float]:
    """Fifteen years of nights of one cell: 1 % of noise, and in one of five a step of 5 to 10 % every other year."""
    random = np.random.RandomState([5, series])
    levels = np.zeros(5_500)
    for first in range(400, levels.size, 730) if series % 5 == 0 else ():
        levels[first:] += random.choice([-1, 1]) * random.uniform(0.05, 0.1)
    nights: list[float] = (levels + random.normal(0, 0.01, levels.size)).tolist()
    return nights


def night_points(run: str, number: int, day: str, chosen: list[Cell]) -> list[points.Point]:
    """The points of night ``number``: a release every four weeks, another load of the machine every night."""
    made = []
    for index, cell in enumerate(chosen):
        pinned = fingerprint(cell)
        power = {"load_1min": number % 97 / 100, "swap_used_bytes": number}
        machine = {name: pinned.machine.get(name, f"synthetic {name}") for name in FACTS}
        pinned = msgspec.structs.replace(pinned, machine=machine, power=power)
        newest = msgspec.structs.replace(
            pinned, versions={**pinned.versions, cell.environment: f"2.{1 + number // 28}.0"}
        )
        ratio = log_ratios(index)[number]
        made.append(
            points.Point(
                points.POINTS_VERSION, run, f"{day}T02:{index // 60:02d}:{index % 60:02d}+00:00", cell,
                f"{cell.environment}@newest", "measured", log_ratio=ratio, error=0.009, blocks=20, clock="cpu",
                item="sample", rates=(1000.0, 1000.0 * math.exp(ratio)), fingerprints=(pinned, newest),
            )
        )  # fmt: skip
    return made


def night_folder(results: Path, number: int) -> Path:
    """The run folder of night ``number``."""
    return results / f"{FIRST_NIGHT + timedelta(days=number):%Y%m%d}-020000-{number:04x}"


def write_nights(results: Path, first: int, count: int, chosen: list[Cell]) -> str:
    """``count`` run folders, one a night from number ``first``; returns the name of the last.

    A night that was kept whole from an earlier measurement (``--keep``) is left as it is.
    """
    name = ""
    for number in range(first, first + count):
        day = FIRST_NIGHT + timedelta(days=number)
        folder = night_folder(results, number)
        name = folder.name
        if (folder / points.POINTS).exists():
            continue
        write_run(folder, NIGHT, chosen, speed=1 + number / 10_000, seed=number, day=f"{day:%Y-%m-%d}")
        points.write(folder, night_points(name, number, f"{day:%Y-%m-%d}", chosen))
    return name


def measure_nights(folder: Path, count: int, chosen: list[Cell]) -> list[Cost]:
    """Index and report over ``count`` records in nights; the last night comes after the first index."""
    results, site = folder / f"nights-{count}", folder / f"site-{count}"
    nights = max(2, round(count / NIGHT))
    index = ["report", "--index", "--results", str(results), "--out", str(site / "index.html")]
    (results / MEMORY).unlink(missing_ok=True)  # of a kept store
    shutil.rmtree(night_folder(results, nights - 1), ignore_errors=True)
    write_nights(results, 0, nights - 1, chosen)
    first = cost("index", count, index)
    name = write_nights(results, nights - 1, 1, chosen)
    page = ["--results", str(results), "--out", str(site / f"{name}.html")]
    found = [
        first,
        cost("report", count, ["report", name, *page]),
        cost("index, one night more", count, index),
        cost("recheck", count, ["report", "--recheck", *page]),
        cost("history of a cell", count, ["history", chosen[0].id, "--results", str(results)]),
        verdict_cost(count, results),
    ]
    size = sum(path.stat().st_size for path in results.glob(f"*/{store.RECORDS}"))
    told = f"{nights:,} nights, {size / 1e9:.2f} GB; index of {(site / 'index.html').stat().st_size:,} bytes"
    print(f"{count:>9,} records: {told}", flush=True)
    return found


VERDICT = """
import sys
from pathlib import Path
from bench import nightly, points
from bench.history import series_of
*before, tonight = points.nights(Path(sys.argv[1]))
known = series_of(points.read_all(before, []))
nightly.judged(known, list(points.read(tonight, [])))
"""


def verdict_cost(count: int, results: Path) -> Cost:
    """What ``nightly`` does beside measuring: the nights before, and what the last one says beside them."""
    return cost("verdict of a night", count, [str(results)], ["-c", VERDICT])


def beyond_nights(costs: Sequence[Cost]) -> list[str]:
    """Complaints about the budget of a million records."""
    both = [one for one in costs if one.command in ("index", "report")]
    complaints = [
        f"beyond {NIGHTS_BUDGET_BYTES / 2**30} GiB: {one}" for one in both if one.peak_bytes > NIGHTS_BUDGET_BYTES
    ]
    for count in {one.records for one in both}:
        wall_s = sum(one.wall_s for one in both if one.records == count)
        if wall_s > NIGHTS_BUDGET_S:
            complaints.append(
                f"index and report took {wall_s:.0f} s at {count:,} records, the budget is {NIGHTS_BUDGET_S:.0f} s"
            )
    return complaints


def table(costs: list[Cost]) -> str:
    """The costs, with how much each grew per tenfold of the same command before it."""
    lines = [
        f"{'command':<23}{'records':>10}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}"
        f"{'records x':>11}{'CPU x':>9}{'peak x':>9}"
    ]
    last: dict[str, Cost] = {}
    for one in sorted(costs, key=lambda cost: (cost.command, cost.records)):
        line = f"{one.command:<23}{one.records:>10,}{one.wall_s:>9.2f}{one.cpu_s:>9.2f}{one.peak_bytes / 2**20:>10.0f}"
        if before := last.get(one.command):
            line += f"{one.records / before.records:>11.1f}{one.cpu_s / before.cpu_s:>9.1f}"
            line += f"{one.peak_bytes / before.peak_bytes:>9.1f}"
        lines.append(line)
        last[one.command] = one
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and judge against the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="write the runs here, unless they are there, and leave them")
    parser.add_argument("--nights", type=int, nargs="+", help="records in all, in nights of 274; instead of --records")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="report_scale-"))
    chosen = cells(91 if options.nights else options.cells)
    one_size = measure_nights if options.nights else measure
    try:
        costs = [one for count in options.nights or options.records for one in one_size(folder, count, chosen)]
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(costs))
    if options.nights:
        complaints = beyond_nights(costs)
        print("\n".join(complaints))
        return 1 if complaints else 0
    beyond = [one for one in costs if one.wall_s > BUDGET_S or one.peak_bytes > BUDGET_BYTES]
    for one in beyond:
        print(f"beyond the budget of {BUDGET_S:.0f} s and {BUDGET_BYTES / 2**30} GiB: {one}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
