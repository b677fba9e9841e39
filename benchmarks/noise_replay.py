"""The long validation: ``python -m benchmarks.noise_replay [TRIALS] [FILE...]`` prints docs/statistics.md's tables.

Every estimator that was tried, in the rule of the product (looks at 8, 16 and 20 blocks, margin 3 %), on the half of
the recorded blocks on which the choice was made (even numbers) and on the other one; then all rates of ``twinbench
selftest``. 1,000 trials take about ten minutes on a quiet core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench import evidence
from bench.evidence import Duets, Evidence, Means
from bench.rate_words import sentence
from bench.rates import BLOCKS, FLAGGED, RECORDED, Rate, Trials
from bench.recordings import Recording, Turns, read
from bench.selftest import own_noise, replay
from bench.stats import Floats, session_sd
from bench.verdict import decide, judge, looks_within

#: One number a block from (A's times, B's times), each of shape (turns, bursts).
Reduce = Callable[[Floats, Floats], float]


def median_of_turns(a: Floats, b: Floats) -> float:
    """Turns as single long bursts, the median of their log-ratios: what twinbench did before."""
    return float(np.median(np.log(a.sum(axis=1) / b.sum(axis=1))))


def mean_of_turns(a: Floats, b: Floats) -> float:
    """The mean of the same."""
    return float(np.log(a.sum(axis=1) / b.sum(axis=1)).mean())


def fastest_of_turns(a: Floats, b: Floats) -> float:
    """The fastest burst of each turn."""
    return float(np.median(np.log(a.min(axis=1) / b.min(axis=1))))


def fastest_of_all(a: Floats, b: Floats) -> float:
    """The fastest burst of each side."""
    return float(np.log(a.min() / b.min()))


def median_of_pairs(a: Floats, b: Floats) -> float:
    """All pairs of bursts within a turn."""
    return float(np.median(np.log(a[:, :, None] / b[:, None, :])))


def hodges_lehmann(a: Floats, b: Floats) -> float:
    """Hodges and Lehmann's shift: all pairs of the block."""
    return float(np.median(np.log(a.ravel()[:, None] / b.ravel()[None, :])))


def trimmed_mean_of_pairs(a: Floats, b: Floats) -> float:
    """The mean of the middle half of the pairs within a turn."""
    ordered = np.sort(np.log(a[:, :, None] / b[:, None, :]).ravel())
    quarter = ordered.size // 4
    return float(ordered[quarter:-quarter].mean())


REDUCERS: tuple[Reduce, ...] = (
    median_of_turns,
    mean_of_turns,
    fastest_of_turns,
    fastest_of_all,
    median_of_pairs,
    hodges_lehmann,
    trimmed_mean_of_pairs,
)
#: Window of the chosen estimator: share of the scatter, and the narrowest.
WINDOWS = ((0.25, 0.03), (0.5, 0.05), (1.0, 0.05), (2.0, 0.05))


def shaped(turns: Turns, clock: str) -> Floats:
    """Shape (turns, bursts); every turn of these recordings has as many bursts."""
    count = np.unique(turns.came).size
    return turns.ns[clock].reshape(count, -1)


def blocks_of(recording: Recording, side: str, clock: str, reduce: Reduce) -> Means:
    """One number a block."""
    pairs = ((shaped(block["A"], clock), shaped(block[side], clock)) for block in recording.blocks)
    return Means(np.array([reduce(a, b) for a, b in pairs]))


def words(whole: Evidence, trials: int, margin: float) -> Iterator[str]:
    """The verdict of each trial on resampled blocks."""
    random, looks = np.random.RandomState(2), looks_within(BLOCKS)
    for _ in range(trials):
        chosen = random.randint(whole.blocks, size=BLOCKS)
        if isinstance(whole, Duets):
            yield judge(Duets(tuple(whole.pairs[index] for index in chosen)), margin, looks).word
        else:
            assert isinstance(whole, Means)
            yield decide(Means(whole.logs[chosen]), margin, looks).word


def line(make: Callable[[str, str], Evidence], trials: int) -> str:
    """Identical code flagged (margin, no margin), +5 % and +10 % found; wall time, then CPU time."""
    cells = []
    for clock in ("wall", "cpu"):
        for side, margin in (("A2", 0.03), ("A2", 0.0), ("B5", 0.03), ("B10", 0.03)):
            hits = sum(word in FLAGGED for word in words(make(side, clock), trials, margin))
            cells.append(f"{hits / trials:6.1%}")
    return " | ".join(cells)


def estimators(recording: Recording, trials: int) -> None:
    """Each candidate on both halves."""
    print("identical, margin 3 % | identical, no margin | +5 % | +10 %: wall, then CPU time")
    for name, first in (("even", 0), ("odd", 1)):
        half = Recording(recording.name, "", (), recording.blocks[first::2])
        for reduce in REDUCERS:
            one = line(lambda side, clock, half=half, reduce=reduce: blocks_of(half, side, clock, reduce), trials)  # type: ignore[misc]
            print(f"{name:4} {reduce.__name__:22} | {one}", flush=True)
        for share, narrowest in WINDOWS:
            before = evidence.WINDOW_SHARE, evidence.NARROWEST_WINDOW
            evidence.WINDOW_SHARE, evidence.NARROWEST_WINDOW = share, narrowest
            one = line(lambda side, clock, half=half: half.duets(side, clock), trials)  # type: ignore[misc]
            evidence.WINDOW_SHARE, evidence.NARROWEST_WINDOW = before
            print(f"{name:4} window {share:4} >= {narrowest:4}    | {one}", flush=True)


def shown(rate: Rate) -> None:
    """One line a rate, as it comes."""
    print(f"{rate.rule:24} {rate.source:34} {rate.clock:4} {sentence(rate):52} of {rate.count:3} {rate}", flush=True)


def main(arguments: list[str]) -> None:
    """All tables."""
    trials = int(arguments[0]) if arguments else 1000
    files = [Path(name) for name in arguments[1:]] or own_noise()
    for recording in (recording for path in files for recording in read(path)):
        if recording.blocks and set(RECORDED) <= set(recording.sides()):
            estimators(recording, trials)
        if recording.processes:
            medians = np.array([np.median(times) for times in recording.processes])
            for size in (3, 5, 10):
                sessions = medians[: medians.size // size * size].reshape(-1, size)
                print(f"standard deviation between sessions of {size}: {session_sd(sessions.tolist()):.3f}")
    replay(files, Trials(trials), shown)


if __name__ == "__main__":
    main(sys.argv[1:])
