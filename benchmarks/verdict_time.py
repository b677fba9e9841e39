"""Wall time of one of our verdicts beside two pyperf runs of the same function.

    python -m benchmarks.verdict_time --python /path/to/torch/bin/python --rounds 3 --threads 1

Turn by turn: identical code compared live by ``twinbench compare`` (up to ``--blocks`` blocks), then pyperf twice with
its own settings (20 processes) and ``pyperf compare_to``. The function is one iteration of ``mlp:digits`` inference in
torch with our weights and inputs, in the same interpreter. The harness must have pyperf; torch gets it by PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK, CELL = "mlp:digits", ("mlp", "digits", "inference", "default", 64, "torch", "cpu", "fp32", "eager")


def serve() -> None:
    """The script that pyperf runs in each of its processes."""
    import pyperf

    from bench.worker import Session

    names = ("weights", "inputs", "threads")
    runner = pyperf.Runner(add_cmdline_args=lambda cmd, args: cmd.extend(f"--{n}={getattr(args, n)}" for n in names))
    for name in names:
        runner.argparser.add_argument(f"--{name}", required=True)
    given = runner.parse_args()
    keys = ("workload", "size", "phase", "variant", "batch", "environment", "device", "precision", "mode")
    session = Session()
    session.open("torch", "torch", "cpu", int(given.threads))
    session.load(dict(zip(keys, CELL, strict=True)), given.weights, given.inputs)
    session.first_call()
    runner.bench_func(WORK, session.program.step)


def pyperf_twice(python: str, folder: Path, threads: int) -> tuple[float, str]:
    """Seconds of two runs and their comparison, and what pyperf said."""
    import pyperf

    from bench import workload
    from bench.cell import Cell
    from bench.materials import Store

    files = Store(0, folder).materials(workload.get("mlp"), Cell(*CELL))
    library = folder / "site"
    library.mkdir(exist_ok=True)
    if not (library / "pyperf").exists():
        (library / "pyperf").symlink_to(Path(pyperf.__file__).parent)
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{library}", "OMP_NUM_THREADS": str(threads)}
    options = [f"--weights={files.weights}", f"--inputs={files.inputs}", f"--threads={threads}"]
    started = time.monotonic()
    outputs = []
    for name in ("a", "b"):
        path = folder / f"{name}.json"
        path.unlink(missing_ok=True)
        subprocess.run(
            [python, __file__, "--quiet", "--inherit-environ=PYTHONPATH,OMP_NUM_THREADS", f"--output={path}", *options],
            env=variables, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        outputs.append(str(path))
    told = subprocess.run(
        [sys.executable, "-m", "pyperf", "compare_to", *outputs], check=True, capture_output=True, text=True
    )
    return time.monotonic() - started, " ".join(told.stdout.split())


def ours(python: str, folder: Path, threads: int, blocks: int) -> tuple[float, str]:
    """Seconds of a live comparison of torch with itself, and its verdict."""
    started = time.monotonic()
    sides = ["torch/cpu/fp32", "torch@again/cpu/fp32", f"--python=torch={python}", f"--python=torch@again={python}"]
    what = [f"--workload={WORK}", "--phase=inference", f"--blocks={blocks}", f"--threads={threads}"]
    command = [sys.executable, "-m", "bench", "compare", *sides, *what, f"--results={folder / 'results'}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if told.returncode not in (0, 1):
        raise SystemExit(told.stdout + told.stderr)
    words = [word for word in ("inconclusive", "slower", "faster", "same") if f" {word} " in told.stdout]
    return time.monotonic() - started, ", ".join(words)


def main() -> None:
    """A line for each turn, then the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="an interpreter with torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    pairs = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(asked.rounds):
            mine, verdict = ours(asked.python, Path(temporary), asked.threads, asked.blocks)
            theirs, said = pyperf_twice(asked.python, Path(temporary), asked.threads)
            pairs.append((mine, theirs))
            print(f"{number + 1}: twinbench {mine:.0f} s ({verdict}); pyperf twice {theirs:.0f} s ({said})", flush=True)
    print(json.dumps({"ratio": [round(mine / theirs, 3) for mine, theirs in pairs]}))


if __name__ == "__main__":
    if any(word.startswith("--weights=") for word in sys.argv):
        serve()
    else:
        main()
