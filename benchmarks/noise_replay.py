"""How often our rules and those of others err on recorded noise: ``python -m benchmarks.noise_replay [TRIALS]``."""

from __future__ import annotations

import sys

from bench.stats import session_sd
from tests import replay


def main(trials: int = 1000) -> None:
    """The tables of docs/statistics.md; 4,000 trials take about a minute."""
    print("Coverage of the 95 % interval (share of trials ± standard error)")
    print("processes | t on process medians | iterations as samples | processes back to back")
    for count in (3, 5, 10, 20):
        ours, iterations = replay.coverage(count, trials), replay.coverage_of_iterations(count, trials)
        print(f"{count:9} | {ours} | {iterations} | {replay.coverage_back_to_back(count, trials)}")
    print("\nFlagged as faster or slower: " + ", ".join(replay.VARIANTS.values()))
    for clock in ("wall", "cpu"):
        for blocks in (8, 20, 32):
            for margin in (0.03, 0.0):
                rates = [replay.flagged(name, clock, blocks, trials, margin=margin) for name in replay.VARIANTS]
                print(f"duet, {clock:4}, {blocks:2} blocks, margin {margin:.0%} | " + " | ".join(map(str, rates)))
    for name, rule in (("pyperf t test", replay.pyperf_flags), ("mean:5%", replay.pytest_benchmark_flags)):
        print(f"{name}, back to back | " + " | ".join(str(rule(slowdown, trials)) for slowdown in (0.0, 0.05, 0.1)))
    print("\nStandard deviation of log time between sessions of that many processes, beyond the processes within")
    for size in (3, 5, 10):
        medians = replay.medians()
        sessions = medians[: medians.size // size * size].reshape(-1, size)
        print(f"{size:9} | {session_sd(sessions.tolist()):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
