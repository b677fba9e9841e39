"""Levels of a series: what is a change, what is not, and that each test can say both."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from ruptures import Pelt
from ruptures.costs import CostL1

from bench import changepoints, night_rates, pelt
from bench.changepoints import Change, breaks, changes, judge, predict
from bench.medians import median, trailing_medians
from bench.pelt import SegmentCosts, segments
from bench.stats import Floats

ERROR = 0.009


def noise(count: int, sd: float = 0.008, seed: int = 0) -> Floats:
    """Nights around zero."""
    drawn: Floats = np.random.RandomState(seed).normal(0, sd, count)
    return drawn


def found_in(values: Floats) -> list[tuple[int, Change]]:
    """All changes, with the scatter of blocks that such nights have."""
    return changes(values, [ERROR] * len(values))


@pytest.mark.parametrize(("slower", "latest"), [(0.10, 3), (0.06, 5)])
def test_a_step_is_found_placed_and_sized(slower: float, latest: int) -> None:
    values = noise(30)
    values[20:] -= math.log1p(slower)
    ((night, change),) = found_in(values)
    assert change.kind == "step"
    assert night - 20 < latest
    assert abs(change.first - 20) <= 1
    assert change.size == pytest.approx(-math.log1p(slower), abs=0.015)


def test_a_step_is_said_once_and_its_end_is_a_change_too() -> None:
    values = noise(60)
    values[20:40] -= 0.1
    found = found_in(values)
    assert [change.size < 0 for _, change in found] == [True, False]
    assert [change.first for _, change in found] == pytest.approx([20, 40], abs=1)


def test_small_and_short_is_no_change() -> None:
    values = noise(60, 0.002)
    values[30:] -= 0.02  # below 3 %
    values[10:12] -= 0.2  # two nights are a spike
    assert found_in(values) == []


def test_a_slow_drift_is_found() -> None:
    """1 % a night for ten nights."""
    values = noise(40)
    values -= 0.01 * np.clip(np.arange(40) - 19, 0, 10)
    found = found_in(values)
    assert found
    assert all(change.size < 0 for _, change in found)
    assert 20 <= found[0][0] <= 30


def test_a_drift_too_slow_for_yesterday_is_found_against_the_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.15 % a night: no night differs from the one before; without the anchor nothing would be said for months."""
    monkeypatch.setattr(changepoints, "_step", lambda *arguments: None)
    values = noise(80, 0.004) - 0.0015 * np.arange(80)
    found = found_in(values)
    assert {change.kind for _, change in found} == {"drift"}
    assert found[0][1].first == changepoints.ANCHOR_NIGHTS
    monkeypatch.setattr(changepoints, "_drift", lambda *arguments: None)
    assert found_in(values) == []


def test_tonight_alone_needs_a_second_measurement_and_a_reason() -> None:
    values, errors = [*noise(10), -0.12], [ERROR] * 11
    assert judge(values, errors) is None
    assert judge(values, errors, confirmed=True) is None
    assert judge(values, errors, changed=True) is None
    change = judge(values, errors, confirmed=True, changed=True)
    assert change is not None
    assert (change.kind, change.first) == ("tonight", 10)
    assert change.size == pytest.approx(-0.12, abs=0.02)


def test_three_nights_are_enough_for_tonight_and_two_are_not() -> None:
    assert predict([0.0, 0.001], [ERROR] * 2) is None
    expected = predict([0.0, 0.001, -0.001], [ERROR] * 3)
    assert expected is not None
    assert expected.outside(-0.05)
    assert not expected.outside(0.02)
    assert expected.confirmed(-0.06, -0.05)
    assert not expected.confirmed(-0.06, 0.05)
    assert not expected.confirmed(-0.06, -0.01)
    assert judge([0.0, 0.001, -0.001, -0.2], [ERROR] * 4, confirmed=True, changed=True) is not None
    assert judge([0.0, 0.001, -0.2], [ERROR] * 3, confirmed=True, changed=True) is None


def test_after_a_change_the_new_level_is_expected() -> None:
    values = [*noise(10), *(noise(4, seed=1) - 0.2)]
    expected = predict(values, [ERROR] * 14, starts=[10])
    assert expected is not None
    assert expected.centre == pytest.approx(-0.2, abs=0.01)


def test_the_noise_is_measured() -> None:
    """Quiet nights give a narrow prediction, wild ones a wide one, and spikes do not widen it much."""
    quiet, wild, spiked = noise(60, 0.004), noise(60, 0.04), noise(60, 0.004)
    spiked[::15] += 0.3
    widths = [
        expected.sd for values in (quiet, wild, spiked) if (expected := predict(values, [0.004] * 60)) is not None
    ]
    assert widths[1] > 5 * widths[0]
    assert widths[2] < 2 * widths[0]


def test_pelt_proposes_with_the_noise_as_penalty() -> None:
    values = noise(30, 0.002)
    values[12:] -= 0.05
    assert breaks(values, 0.002) == [12]
    assert breaks(values, 1.0) == []
    assert breaks(values[:5], 0.002) == []


def of_two_kinds(size: int) -> list[Floats]:
    """Nights of many digits, and rounded ones with ties and zeros of both signs."""
    random = np.random.RandomState([7, size])
    rounded = random.normal(0, 0.02, size).round(2)
    rounded[: size // 4] = -0.0
    return [random.normal(0, 0.02, size), rounded]


@pytest.mark.parametrize("size", [1, 2, 7, 60, 75])
def test_medians_of_all_runs_are_those_of_one_after_the_other(size: int) -> None:
    for values in of_two_kinds(size):
        found = trailing_medians(values, 60)
        for count, last in product(range(1, 61), range(size)):
            if count > last + 1:
                assert math.isnan(found[count, last])
            else:
                run = values[last + 1 - count : last + 1]
                assert found[count, last] == median(run) == np.median(run)


def differing_costs(costs: SegmentCosts, values: Floats) -> list[tuple[int, int]]:
    """The segments whose cost is not to the last bit that of ruptures."""
    theirs, size = CostL1().fit(values), values.size
    ends = ((start, end) for start in range(size) for end in range(start + 3, size + 1))
    return [place for place in ends if costs.error(*place) != theirs.error(*place)]


@pytest.mark.parametrize("size", [6, 7, 8, 9, 33, 60])
def test_the_cost_of_a_segment_is_that_of_ruptures_to_the_last_bit(size: int) -> None:
    for values in of_two_kinds(size):
        assert differing_costs(SegmentCosts(3).fit(values), values) == []


def test_pelt_with_these_costs_proposes_what_ruptures_proposes() -> None:
    proposed = []
    for seed, penalty in product(range(12), (0.02, 0.05, 0.2)):
        values = eventful("steps noisy" if seed % 2 else "steps", seed, 60)
        theirs = Pelt(model="l1", min_size=3, jump=1).fit(values).predict(pen=penalty)[:-1]
        assert segments(values, penalty, 3) == theirs
        proposed += theirs
    assert len(set(proposed)) > 10


def test_another_cost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur: the upper of the two middle values for the median."""
    (values, _) = of_two_kinds(33)
    monkeypatch.setattr(pelt, "trailing_medians", upper_medians)
    assert len(differing_costs(SegmentCosts(3).fit(values), values)) > 10


def upper_medians(values: Floats, longest: int) -> Floats:
    """Wrong for every even run."""
    found = np.full((longest + 1, values.size), np.nan)
    for count, last in product(range(1, longest + 1), range(values.size)):
        if count <= last + 1:
            found[count, last] = np.sort(values[last + 1 - count : last + 1])[count // 2]
    return found


def test_what_is_no_night_is_refused() -> None:
    with pytest.raises(ValueError, match="0 nights"):
        judge([], [])
    with pytest.raises(ValueError, match="2 nights with 1 standard errors"):
        judge([0.0, 0.1], [0.01])
    with pytest.raises(ValueError, match="night 1 is nan"):
        judge([0.0, math.nan], [0.01, 0.01])
    with pytest.raises(ValueError, match=r"night 0 is 0\.0 with standard error -1\.0"):
        judge([0.0], [-1.0])


# --- years of nights -------------------------------------------------------------------------------------------------


def every_night(values: Floats, errors: Floats, confirmed: list[bool], changed: list[bool]) -> list[tuple[int, Change]]:
    """``changes`` the slow way: ``judge`` is asked every night, on all nights until then."""
    found: list[tuple[int, Change]] = []
    for last in range(values.size):
        starts = changepoints.starts_of(found)
        change = judge(values[: last + 1], errors[: last + 1], starts, confirmed[last], changed[last])
        if change is not None:
            found.append((last, change))
    return found


def eventful(kind: str, seed: int, count: int = 130) -> Floats:
    """Nights with what the name says; "noisy" has 3 % a night, else 1 %.

    "back": a step, late in its regime, that ends nearer to the first nights than 3 %: no drift; "creep": no step.
    """
    random = np.random.RandomState([seed, len(kind)])
    values = random.normal(0, 0.03 if "noisy" in kind else 0.01, count)
    if "steps" in kind:
        for first in (25, 70, 77, 115):
            values[first:] += random.choice([-1, 1]) * random.uniform(0.03, 0.2)
    if "back" in kind:
        values *= 0.4
        values[20:] += 0.022
        values[100:] -= 0.036
    if "creep" in kind:
        values = 0.3 * values - 0.0004 * np.arange(count)
    if "drift" in kind:
        values -= 0.0015 * np.arange(count)
    if "spikes" in kind:
        values += (random.random_sample(count) < 0.05) * random.uniform(-0.2, 0.2, count)
    return values


@pytest.mark.parametrize(
    "kind", ["quiet", "steps", "back", "creep", "drift", "spikes", "noisy", "noisy steps", "drift steps spikes"]
)
def test_only_the_nights_that_can_say_something_are_judged_and_nothing_is_lost(kind: str) -> None:
    """The same changes to the last bit, wherever the nights are cut in what was judged before and what was not."""
    random = np.random.RandomState(1)
    values, errors = eventful(kind, 1), np.abs(random.normal(ERROR, 0.001, 130))
    confirmed, changed = (random.random_sample((2, 130)) < 0.2).tolist()
    expected = every_night(values, errors, confirmed, changed)
    assert expected or kind in ("quiet", "noisy", "spikes")
    assert changes(values, errors, confirmed, changed) == expected
    for cut in (72, 129):
        known = [one for one in expected if one[0] < cut]
        assert changes(values, errors, confirmed, changed, known, cut) == expected


def test_a_screen_that_sees_too_little_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur: a screen that lets one night in forty through finds other changes."""
    values, errors, never = eventful("steps", 0), np.full(130, ERROR), [False] * 130
    monkeypatch.setattr(changepoints._Medians, "tell", lambda self, begin: np.arange(130) % 40 == 0)
    assert changes(values, errors) != every_night(values, errors, never, never)


def test_quiet_years_are_hardly_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten years: what costs something is asked on less than one night in a hundred, so time grows as the nights do."""
    asked: list[int] = []
    judging = changepoints._judge

    def counted(nights: Floats, *given: Any) -> Change | None:
        asked.append(nights.size)
        return judging(nights, *given)

    monkeypatch.setattr(changepoints, "_judge", counted)
    assert found_in(noise(3650)) == []
    assert len(asked) < 36


# --- rates: the long ones are in benchmarks/nightly_rates.py ---------------------------------------------------------

SERIES = 12


@pytest.mark.parametrize("kind", ["white", "spiky", "autocorrelated"])
def test_nights_without_a_change_do_not_alarm(kind: str) -> None:
    """Of 12 seeded series of 100 nights none may; 400 of each are in docs/nightly.md."""
    assert night_rates.alarms_per_100_nights(getattr(night_rates, kind)(), SERIES).alarmed == 0


def test_steps_are_found_within_five_nights() -> None:
    assert night_rates.nights_to_find(night_rates.white(), 0.10, SERIES).within(5) == 1.0
    assert night_rates.nights_to_find(night_rates.white(), 0.05, SERIES).within(5) >= 0.8


@pytest.mark.parametrize("kind", ["white", "spiky"])
def test_a_small_step_is_found_in_time_on_nights_that_nothing_was_chosen_on(kind: str) -> None:
    """Issue 6 asks for 80 %; the seed served neither the choice of thresholds nor the table of docs/nightly.md."""
    nights = getattr(night_rates, kind)()
    found = night_rates.nights_to_find(nights, 0.05, 60, seed=7001, released=False)
    print(kind, found.within(5), found.median)
    assert found.within(5) >= 0.8


def test_the_step_itself_is_no_noise_to_pelt() -> None:
    """Five nights of a step that is five times the noise; around one level they would look like wild nights."""
    values = noise(25, 0.01, seed=8)
    values[20:] -= 0.055
    assert [(night, change.first) for night, change in found_in(values)] == [(24, 20)]


def test_of_two_measurements_a_spike_does_not_count() -> None:
    expected = predict(noise(20), [ERROR] * 20)
    assert expected is not None
    assert expected.second_stands(-0.06, -0.07, ERROR), "as far apart as blocks are: the first was picked"
    assert not expected.second_stands(-0.06, -0.2, ERROR), "the second is the spike"
    assert expected.second_stands(-0.2, -0.06, ERROR), "the first is"
    assert expected.second_stands(-0.2, 0.0, ERROR), "what was expected is no spike"


def test_the_rates_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteurs: nights taken as independent and judged at 5 % alarm; a deaf rule finds no step."""
    for name, value in (
        ("SHIFT_LEVEL", 0.05),
        ("FEWEST_STANDARD_ERRORS", 0.0),
        ("AUTOCORRELATION", 0.0),
        ("SMALLEST", 0.0),
    ):
        monkeypatch.setattr(changepoints, name, value)
    changepoints._inflation.cache_clear()
    try:
        careless = night_rates.alarms_per_100_nights(night_rates.autocorrelated(), 4, count=40)
    finally:
        changepoints._inflation.cache_clear()
    assert careless.share > 0.5
    assert careless.per_100_nights > 0.5
    monkeypatch.setattr(changepoints, "SMALLEST", 10.0)
    deaf = night_rates.nights_to_find(night_rates.white(), 0.10, 3)
    assert deaf.within(5) == 0
    assert deaf.median == math.inf
