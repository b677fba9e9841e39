"""The proof: our rules hold their rates on recorded noise, those of others do not, and the checks can fail. Seeded.

The longer form with more trials, and the estimators that were tried, is ``python -m benchmarks.noise_replay``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench import rates
from bench.evidence import Duets
from bench.rates import Rate, Trials
from bench.recordings import Recording, read
from bench.stats import Floats, Interval, interval, pocock_level, t_quantile
from bench.verdict import LOOK_ALPHA, LOOKS, MARGIN, Verdict, decide, judge

NOISE = Path(__file__).parent / "data" / "noise"
MARGIN_LOG = math.log(1.03)


@cache
def recording(name: str) -> Recording:
    (recording,) = read(NOISE / name)
    return recording


def chosen(found: Iterable[Rate], **words: object) -> Rate:
    """The one rate with these words; the others are not computed further than needed."""
    return next(rate for rate in found if all(getattr(rate, key) == value for key, value in words.items()))


#: On the blocks with odd numbers +5 % by CPU time is found less often than is asked: docs/statistics.md says so. It is
#: seeded; one trial less than it was is allowed, for another NumPy. (half, clock, effect, origin) -> at least.
BELOW = {(1, "cpu", 0.05, "recorded"): 50 / 60, (1, "cpu", 0.05, "injected"): 44 / 60}


@pytest.mark.parametrize("half", [0, 1])
def test_verdicts_hold_what_issue_6_asks_on_both_halves_of_the_recording(half: int) -> None:
    """The estimator was chosen on the blocks with even numbers. Slow-downs recorded or injected; no slack but BELOW."""
    whole = recording("duet.jsonl.gz")
    part = Recording("half", "", (), whole.blocks[half::2])
    found = [rate for rate in rates.of_duets(part, Trials(60)) if rate.demand is not None]
    assert len(found) == 10
    for rate in found:
        print(rate.clock, rate.what, f"{rate.effect:+.1%}", rate.count, rate)
        assert rate.demand is not None
        least = BELOW.get((half, rate.clock, round(rate.effect, 2), rate.origin), rate.demand[0])
        assert least <= rate.value <= rate.demand[1], (rate.clock, rate.effect, rate.origin)


def test_verdicts_hold_what_issue_6_asks_on_live_blocks_that_served_no_choice() -> None:
    """As ``twinbench compare`` measures now; there +5 % is found as often by wall time, of which nothing is asked."""
    noise = recording("live-one-core.jsonl.gz")
    assert len(noise.blocks) == 184
    found = list(rates.of_duets(noise, Trials(60)))
    asked = [rate for rate in found if rate.demand is not None]
    assert len(asked) == 7
    for rate in asked:
        assert rate.demand is not None
        assert rate.demand[0] <= rate.value <= rate.demand[1], (rate.clock, rate.effect, str(rate))
    assert chosen(found, clock="wall", effect=0.05).value >= 0.9


def test_identical_code_is_rarely_flagged_even_without_a_margin() -> None:
    for clock in ("wall", "cpu"):
        duets = recording("duet.jsonl.gz").duets("A2", clock)
        words = Trials(200).words(duets, LOOKS[-1], margin=0.0)
        assert sum(word in rates.FLAGGED for word in words) / len(words) <= 0.08, clock


def no_margin_no_pocock(duets: Duets, margin: float, looks: tuple[int, ...]) -> Verdict:
    """The saboteur: 1.96 standard errors of the plain means at every look, as if each were the only one."""
    logs = np.array([pairs.total for pairs in duets.pairs])
    for look in looks:
        mean, error = logs[:look].mean(), logs[:look].std(ddof=1) / math.sqrt(look)
        if abs(mean) > 1.96 * error:
            return Verdict("faster" if mean > 0 else "slower", None, look, None, "")
    return Verdict("inconclusive", None, looks[-1], None, "")


def deaf(duets: Duets, margin: float, looks: tuple[int, ...]) -> Verdict:
    """The other saboteur: it never says anything."""
    return Verdict("inconclusive", None, looks[-1], None, "")


def test_saboteurs_miss_their_demands() -> None:
    part = recording("duet.jsonl.gz")
    loud = chosen(rates.of_duets(part, Trials(200, judge=no_margin_no_pocock)), effect=0.0, count=LOOKS[-1])
    assert loud.holds is False, loud
    silent = chosen(rates.of_duets(part, Trials(20, judge=deaf)), origin="recorded", effect=rates.RECORDED["B10"])
    assert silent.holds is False
    ours = chosen(rates.of_duets(part, Trials(20)), origin="recorded", effect=rates.RECORDED["B10"])
    assert ours.holds is True


def test_a_flag_that_a_second_measurement_does_not_see_is_taken_back() -> None:
    found = list(rates.of_confirmations(recording("duet.jsonl.gz"), Trials(40)))
    assert [rate.effect > 0 for rate in found] == [False, False, True, True]
    assert all(rate.value >= 0.9 for rate in found[2:])
    trigger_happy = Trials(100, judge=no_margin_no_pocock)
    both = list(rates.of_confirmations(recording("duet.jsonl.gz"), trigger_happy))
    alone = chosen(rates.of_duets(recording("duet.jsonl.gz"), trigger_happy), effect=0.0)
    assert both[0].value < alone.value


def test_intervals_cover() -> None:
    found = list(rates.of_intervals(recording("base.jsonl.gz"), Trials(500)))
    assert [rate.count for rate in found] == [3, 5, 10, 20]
    for rate in found:
        print("coverage at", rate.count, rate)
        assert rate.value >= 0.92


def test_saboteur_iterations_as_samples_do_not_cover() -> None:
    times = recording("base.jsonl.gz").processes
    by_median = {float(np.median(one)): one for one in times}

    def flat(medians: Floats) -> Interval:
        return interval(np.concatenate([by_median[float(median)] for median in medians]))

    five = chosen(rates.of_intervals(recording("base.jsonl.gz"), Trials(200, estimator=flat)), count=5)
    assert five.holds is False
    assert five.value < 0.6


def test_rules_of_others_flag_identical_code_on_the_same_recordings() -> None:
    found = list(rates.of_rivals(recording("base.jsonl.gz"), Trials(60)))
    identical = {rate.rule: rate.value for rate in found if not rate.effect}
    assert len(identical) == 5
    print(identical)
    assert min(identical.values()) > 0.05
    assert identical["pyperf"] > 0.5


def test_processes_in_turn_invent_nothing() -> None:
    flagged = next(rates.of_alternating(recording("base.jsonl.gz"), Trials(100)))
    assert flagged.value <= 0.05


@pytest.mark.parametrize("noise", rates.NOISES, ids=lambda noise: noise.name)
def test_simulated_machines(noise: rates.Noise) -> None:
    found = list(rates.of_simulations(Trials(100), [noise]))
    print(noise.name, *found)
    assert [rate.holds for rate in found[:1]] == [True]
    assert found[1].value <= 0.12, "without a margin; planned for 5 %"
    assert found[3].value >= 0.9, "+10 %"


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
        (0.005, math.expm1(0.005), ("faster", "slower")),
    ],
)
def test_decide_errs_at_most_one_time_in_twenty(effect: float, margin: float, words: tuple[str, ...]) -> None:
    """Lognormal noise; at the very edge of the margin neither side's word may be given lightly."""
    trials, random = 1000, np.random.RandomState(3)
    given = [decide(random.normal(effect, 0.04, 32), margin).word for _ in range(trials)]
    assert sum(word in words for word in given) / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_saboteur_without_pocock_exceeds() -> None:
    random = np.random.RandomState(3)
    unplanned = [decide(random.normal(0, 0.04, 32), 0.0, level=0.05).word for _ in range(1000)]
    assert sum(word in rates.FLAGGED for word in unplanned) / 1000 > 0.08


def test_found_means_slower_and_no_resample_says_faster() -> None:
    duets = recording("duet.jsonl.gz").duets("B10", "cpu")
    words = {judge(sample, MARGIN).word for sample in Trials(100).drawn(duets, 16)}
    assert words == {"slower"}
