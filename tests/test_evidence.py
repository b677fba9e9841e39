"""What blocks say about a ratio: pairs of neighbouring bursts, the minimum-effect test, and what could fool them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bench.evidence import Duets, Means, beyond, critical, means, pairs_of
from bench.stats import Floats, t_quantile
from bench.verdict import confirmed, decide, judge, looks_within

LEVEL = 0.0208
Maker = Callable[[np.random.RandomState], Floats]


def block(a: Floats, b: Floats, bursts: int = 6) -> Duets:
    """A block whose sides take turns of ``bursts`` bursts, A first."""
    starts = [(2 * (np.arange(a.size) // bursts) + side).tolist() for side in (0, 1)]
    return Duets((pairs_of(a, b, *starts),))


def blocks(count: int, slowdown: float, noise: Maker, seed: int = 0) -> Duets:
    """Blocks of ten turns, B slower."""
    random = np.random.RandomState(seed)
    made = [block(np.exp(noise(random)), (1 + slowdown) * np.exp(noise(random))) for _ in range(count)]
    return Duets(tuple(pairs for one in made for pairs in one.pairs))


def quiet(random: np.random.RandomState) -> Floats:
    return random.normal(0, 0.01, 60)


def busy(random: np.random.RandomState) -> Floats:
    """Turns of six bursts; in two of five somebody else is there, and every burst takes longer by some amount."""
    disturbed = np.repeat(random.random_sample(10) < 0.4, 6)
    return random.normal(0, 0.02, 60) + np.where(disturbed, random.exponential(0.6, 60), 0.0)


def test_bursts_are_paired_with_the_turns_next_to_theirs() -> None:
    one = pairs_of(np.array([1.0, 2.0, 8.0]), np.array([4.0, 16.0]), [0, 1, 5], [3, 9])
    # A A B A B: both bursts of the first turn with the first of B, that with the third of A, that with the last of B
    assert sorted(np.exp(one.logs)) == pytest.approx([0.25, 0.5, 0.5, 2.0])
    assert one.total == pytest.approx(math.log((11 / 3) / 10))
    other = pairs_of(np.array([4.0, 16.0]), np.array([1.0, 2.0, 8.0]), [3, 9], [0, 1, 5])
    assert sorted(-other.logs) == pytest.approx(sorted(one.logs)), "the sides exchanged, the sign changes"


@pytest.mark.parametrize(
    ("a", "b", "starts", "message"),
    [
        ([], [1.0], ([], [0]), "0 and 1 bursts"),
        ([1.0, 2.0], [1.0], ([0], [1]), "2 and 1 bursts with 1 and 1 starts"),
        ([0.0], [1.0], ([0], [1]), "took no time"),
    ],
)
def test_what_is_no_block_is_refused(
    a: list[float], b: list[float], starts: tuple[list[int], list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pairs_of(np.array(a), np.array(b), *starts)


def test_critical_value_lies_between_one_tail_and_two() -> None:
    one_tail, two_tails = t_quantile(1 - LEVEL, 15.0), t_quantile(1 - LEVEL / 2, 15.0)
    assert critical(LEVEL, 15.0, 0.0) == pytest.approx(two_tails, abs=1e-6)
    assert critical(LEVEL, 15.0, 5.0) == pytest.approx(one_tail, abs=1e-6)
    assert one_tail < critical(LEVEL, 15.0, 0.3) < two_tails
    assert beyond(critical(LEVEL, 15.0, 0.3), 15.0, 0.3) == pytest.approx(LEVEL, abs=1e-6)


@pytest.mark.parametrize("band", [0.0, 0.005, 0.01, 0.03, 0.1])
def test_an_effect_at_the_edge_of_the_band_is_flagged_no_more_often_than_the_level(band: float) -> None:
    """40,000 draws of eight normal blocks: the worst ratio that is still no effect."""
    draws = np.random.RandomState(1).normal(band, 0.04, (4_000, 8))
    flagged = 0
    for row in draws:
        found = Means(row).estimate(0.05, band)
        assert found.low is not None
        assert found.high is not None
        flagged += found.low > band or found.high < -band
    assert flagged / len(draws) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))


@pytest.mark.parametrize("noise", [quiet, busy])
def test_the_ratio_is_found_where_neighbours_pile_up(noise: Maker) -> None:
    duets = blocks(16, 0.1, noise)
    found = duets.estimate(LEVEL, math.log(1.03))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= -math.log(1.1) <= found.high
    assert found.high - found.low < 0.05
    plain = Means(np.array([one.median for one in duets.pairs])).estimate(LEVEL, math.log(1.03))
    assert plain.low is not None
    assert plain.high is not None
    if noise is busy:
        assert found.high - found.low < 0.7 * (plain.high - plain.low), "medians alone see less"


def test_groups_of_blocks_are_all_in_the_interval() -> None:
    """Half of the processes are 8 % slower for no reason: the fullest group is not taken for the truth."""

    def lottery(random: np.random.RandomState) -> Floats:
        return random.normal(0, 0.003, 60) + 0.08 * random.randint(2)

    wrong = 0
    for seed in range(100):
        found = blocks(8, 0.0, lottery, seed).estimate(LEVEL, 0.0)
        assert found.low is not None
        assert found.high is not None
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 6


def test_first_blocks_are_those_of_a_look_and_one_gives_no_interval() -> None:
    duets = blocks(4, 0.1, quiet)
    assert duets.first(2).pairs == duets.pairs[:2]
    single = duets.first(1).estimate(LEVEL, 0.0)
    assert (single.low, single.high, single.p_value) == (None, None, 1.0)
    assert single.log == pytest.approx(-math.log(1.1), abs=0.02)


def test_blocks_that_agree_wholly_need_no_interval() -> None:
    same = block(np.ones(12), np.full(12, 1.1), 6).pairs[0]
    found = Duets((same,) * 8).estimate(LEVEL, math.log(1.03))
    assert found.low == found.high == pytest.approx(-math.log(1.1))
    assert decide(Duets((same,) * 8)).word == "slower"


def test_far_apart_sides_are_compared_as_well() -> None:
    assert decide(blocks(8, 28.0, quiet)).ratio is not None
    ratio = decide(blocks(8, 28.0, quiet)).ratio
    assert ratio is not None
    assert ratio.estimate == pytest.approx(1 / 29, rel=0.02)


def test_rare_slow_bursts_are_not_called_the_same() -> None:
    """One burst in ten of B takes twice as long: its typical bursts are the same, its work is not done as fast."""

    def now_and_then(random: np.random.RandomState) -> Floats:
        slow = np.zeros(60)
        slow[::10] = math.log(2)
        return random.normal(0, 0.005, 60) + slow

    random = np.random.RandomState(0)
    made = [block(np.exp(quiet(random)), np.exp(now_and_then(random))) for _ in range(8)]
    duets = Duets(tuple(one.pairs[0] for one in made))
    assert decide(duets).word == "same"
    verdict = judge(duets)
    assert verdict.word == "inconclusive"
    assert "in total B has 0.9" in verdict.detail
    assert judge(blocks(8, 0.0, quiet)).word == "same"


def test_a_word_is_confirmed_by_fresh_blocks_or_taken_back() -> None:
    first = judge(blocks(8, 0.1, quiet))
    assert first.word == "slower"
    assert confirmed(first, blocks(4, 0.1, quiet, 5)).word == "slower"
    passed = confirmed(first, blocks(4, 0.0, quiet, 5))
    assert (passed.word, "not confirmed by 4 fresh blocks" in passed.detail) == ("inconclusive", True)
    opposite = confirmed(first, blocks(4, -0.1, quiet, 5))
    assert opposite.word == "inconclusive"
    same = judge(blocks(8, 0.0, quiet))
    assert confirmed(same, blocks(4, 0.1, quiet, 5)) == same


def test_looks_end_with_the_last_block() -> None:
    assert looks_within(32) == (8, 16, 32)
    assert looks_within(20) == (8, 16, 20)
    assert looks_within(8) == (8,)


def test_means_refuse_what_is_no_ratio() -> None:
    with pytest.raises(ValueError, match="log-ratio 1 is nan"):
        means([0.0, math.nan])
