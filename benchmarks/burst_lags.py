"""How unlike two bursts of identical code are, by the time between them: ``python -m benchmarks.burst_lags FOLDER...``.

A folder holds runs that compared a cell with itself (``twinbench compare torch torch --threads 1 --margin 0.0001``).
Printed is the robust scatter of one burst, 1.4826 MAD of log-ratios over the square root of two, for pairs of the same
process and of the two sides; then what it makes of a block. Where the sides are on one core, bursts of the two differ
no more than those of one, and the closer the less. ``docs/statistics.md`` says what was concluded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.recordings import BASE, IDENTICAL, Recording, Turns, read

#: Ends of the classes, in ms between two bursts' beginnings.
LAGS_MS = (0, 12, 25, 50, 100, 200, 400, 800, 1600)


def scatter(one: Turns, other: Turns, clock: str) -> list[list[float]]:
    """Log-ratios of all pairs of two sides, or of one side with itself, by class of lag."""
    lag = np.abs(one.came[:, None] - other.came[None, :]) / 1e6
    ratio = np.log(one.ns[clock][:, None] / other.ns[clock][None, :])
    apart = lag > 0
    place = np.digitize(lag[apart], LAGS_MS) - 1
    return [ratio[apart][place == index].tolist() for index in range(len(LAGS_MS))]


def spread(logs: list[float]) -> float:
    """Robust standard deviation of one burst's log time, from log-ratios of two; NaN where there are few."""
    return 1.4826 * float(np.median(np.abs(logs))) / 2**0.5 if len(logs) >= 100 else float("nan")


def show(noise: Recording, clock: str) -> None:
    """The table of one recording, and the standard error that a block has."""
    same: list[list[float]] = [[] for _ in LAGS_MS]
    other: list[list[float]] = [[] for _ in LAGS_MS]
    for block in noise.blocks:
        a, b = block[BASE], block[IDENTICAL]
        for kept, pairs in ((same, (a, a)), (same, (b, b)), (other, (a, b))):
            for index, logs in enumerate(scatter(*pairs, clock)):
                kept[index] += logs
    duets = noise.duets(IDENTICAL, clock)
    error = duets.estimate(0.05, 0.0).error
    assert error is not None
    print(
        f"{noise.name}, {clock} time, {duets.blocks} blocks: standard error of a block {error * duets.blocks**0.5:.3f}"
    )
    for words, kept in (("one side", same), ("both sides", other)):
        cells = (f"{low}+ ms {spread(logs):.3f}" for low, logs in zip(LAGS_MS, kept, strict=True))
        print(f"  {words:10} {'  '.join(cells)}")


def main(folders: list[str]) -> None:
    """Every recording in the folders, by CPU time where a verdict rests on it."""
    if not folders:
        raise SystemExit(__doc__)
    for folder in folders:
        for noise in read(Path(folder)):
            show(noise, noise.clocks()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
