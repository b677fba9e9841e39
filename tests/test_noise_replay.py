"""The proof: our rules hold their rates on recorded noise, those of others do not, and the checks can fail. Seeded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats import pocock_level, t_quantile
from bench.verdict import LOOK_ALPHA, LOOKS, decide
from tests import replay

TRIALS = 500
MARGIN_LOG = math.log(1.03)


@pytest.mark.parametrize(("count", "least"), [(3, 0.92), (5, 0.92), (10, 0.90), (20, 0.90)])
def test_interval_covers(count: int, least: float) -> None:
    found = replay.coverage(count, 1000)
    print(f"coverage at {count} processes: {found}")
    assert found.value >= least


def test_saboteur_iterations_as_samples_do_not_cover() -> None:
    assert replay.coverage_of_iterations(5, TRIALS).value < 0.6


def test_back_to_back_processes_cover_less_than_a_random_sample() -> None:
    """What the interval does not claim: the next hour."""
    assert replay.coverage_back_to_back(5, TRIALS).value < replay.coverage(5, TRIALS).value - 0.1


@pytest.mark.parametrize("clock", ["wall", "cpu"])
@pytest.mark.parametrize("blocks", [8, 20, 32])
def test_identical_code_is_not_flagged(clock: str, blocks: int) -> None:
    assert replay.flagged("A2", clock, blocks, TRIALS).value <= 0.05
    # The margin does most of that; without any the looks alone must hold it too.
    assert replay.flagged("A2", clock, blocks, TRIALS, margin=0.0).value <= 0.05


def test_ten_percent_is_found_within_twenty_blocks() -> None:
    """By CPU time: what ``auto`` rests on for single-threaded work, which the recording is."""
    found = {clock: replay.flagged("B10", clock, 20, TRIALS) for clock in ("wall", "cpu")}
    print("+10 % found in 20 blocks:", {clock: str(one) for clock, one in found.items()})
    print("+5 % found in 20 blocks:", str(replay.flagged("B5", "cpu", 20, TRIALS)))
    assert found["cpu"].value >= 0.90
    assert found["wall"].value >= 0.30


def test_found_means_slower_and_no_resample_says_faster() -> None:
    logs = replay.block_log_ratios("B10", "cpu")
    random = np.random.RandomState(6)
    words = {decide(logs[random.randint(logs.size, size=20)]).word for _ in range(TRIALS)}
    assert words <= {"slower", "inconclusive"}


def test_rules_of_others_flag_identical_code_on_the_same_recordings() -> None:
    ours = replay.flagged("A2", "wall", 20, TRIALS).value
    for name, theirs in {
        "pyperf t test": replay.pyperf_flags(0.0, TRIALS),
        "pytest-benchmark mean:5%": replay.pytest_benchmark_flags(0.0, TRIALS),
    }.items():
        print(f"identical code flagged by {name}: {theirs}; by a duet: {ours:.1%}")
        assert theirs.value > 0.2 > ours


def test_looks_together_err_as_planned() -> None:
    """200,000 sequences, vectorised: t at the level of ``decide``, no margin."""
    assert crossing_rate(pocock_level(LOOKS, LOOK_ALPHA)) <= 0.05
    assert crossing_rate(0.05) > 0.10  # the saboteur: each look as if it were the only one


def crossing_rate(level: float) -> float:
    logs = np.random.RandomState(0).normal(size=(200_000, 32))
    crossed = np.zeros(len(logs), dtype=bool)
    for look in LOOKS:
        seen = logs[:, :look]
        t = np.abs(seen.mean(axis=1)) / (seen.std(axis=1, ddof=1) / math.sqrt(look))
        crossed |= t > t_quantile(1 - level / 2, look - 1)
    return float(crossed.mean())


@pytest.mark.parametrize(
    ("effect", "margin", "words"),
    [
        (0.0, 0.0, ("faster", "slower")),
        (0.0, 0.03, ("faster", "slower")),
        (MARGIN_LOG, 0.03, ("faster", "slower")),
        (MARGIN_LOG, 0.03, ("same",)),
        (-MARGIN_LOG, 0.03, ("faster", "slower")),
    ],
)
def test_decide_errs_at_most_one_time_in_twenty(effect: float, margin: float, words: tuple[str, ...]) -> None:
    """Lognormal noise; at the very edge of the margin neither side's word may be given lightly."""
    trials = 1500
    rates = replay.simulated(lambda logs: decide(logs, margin).word, effect, trials)
    assert sum(rates[word].value for word in words) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_saboteur_without_pocock_exceeds() -> None:
    rates = replay.simulated(replay.naive, 0.0, 1500)
    assert rates["faster"].value + rates["slower"].value > 0.10
    unplanned = replay.simulated(lambda logs: decide(logs, 0.0, level=0.05).word, 0.0, 1500)
    assert unplanned["faster"].value + unplanned["slower"].value > 0.08
