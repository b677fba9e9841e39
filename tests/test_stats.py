"""Intervals, levels and means against SciPy's own and against hand-worked numbers."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as reference

from bench import stats

A = [1.0, 1.1, 0.9, 1.05, 1.0]
B = [2.0, 2.3, 1.9, 2.2]


def test_interval_is_t_on_logs() -> None:
    logs = np.log(A)
    low, high = reference.t.interval(0.95, 4, logs.mean(), reference.sem(logs))
    found = stats.interval(A)
    assert (found.estimate, found.low, found.high) == pytest.approx(np.exp([logs.mean(), low, high]))


def test_one_process_gives_the_estimate_only() -> None:
    single = stats.interval([3.0])
    assert single.estimate == pytest.approx(3.0)
    assert (single.low, single.high) == (None, None)
    assert stats.ratio_interval([3.0], B).low is None


def test_ratio_interval_is_welch_on_logs() -> None:
    test = reference.ttest_ind(np.log(B), np.log(A), equal_var=False).confidence_interval(0.95)
    found = stats.ratio_interval(A, B)
    assert (found.low, found.high) == pytest.approx((math.exp(test.low), math.exp(test.high)))
    assert found.estimate == pytest.approx(reference.gmean(B) / reference.gmean(A))


def test_extra_variance_only_widens() -> None:
    plain, wide = stats.ratio_interval(A, B), stats.ratio_interval(A, B, extra_variance=0.1)
    assert wide.estimate == plain.estimate
    assert wide.low is not None
    assert plain.low is not None
    assert wide.low < plain.low


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no value given"),
        ([1.0, 0.0], "value 1 is 0.0"),
        ([-2.0], "value 0 is -2.0"),
        ([1.0, 2.0, math.nan], "value 2 is nan"),
        ([math.inf], "value 0 is inf"),
    ],
)
def test_bad_values_are_named(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stats.interval(values)
    with pytest.raises(ValueError, match="value"):
        stats.percentiles(values)


def test_process_median_is_over_bursts_not_iterations() -> None:
    assert stats.process_median([100, 200, 900], [10, 10, 10]) == 20.0
    with pytest.raises(ValueError, match="2 burst times for 1 counts"):
        stats.process_median([1, 2], [1])


def test_percentiles_agree_with_numpy() -> None:
    values = list(np.random.RandomState(0).lognormal(size=137))
    assert stats.percentiles(values) == pytest.approx(np.percentile(values, (50, 90, 99)))
    assert stats.percentiles([4.0]) == (4.0, 4.0, 4.0)


def test_geometric_mean_lists_what_it_leaves_out() -> None:
    found = stats.geometric_mean({"a": 1.0, "b": 4.0, "c": None, "d": 0.0, "e": math.nan})
    assert found.interval is not None
    assert found.interval.estimate == pytest.approx(2.0)
    assert found.included == ("a", "b")
    assert [key for key, _ in found.excluded] == ["c", "d", "e"]
    assert stats.geometric_mean({"c": None}).interval is None


def test_session_sd_recovers_what_was_put_in() -> None:
    random = np.random.RandomState(0)
    logs = random.normal(0, 0.2, (4000, 1)) + random.normal(0, 0.1, (4000, 5))
    assert stats.session_sd(np.exp(logs).tolist()) == pytest.approx(0.2, rel=0.05)
    assert stats.session_sd(np.exp(random.normal(0, 0.1, (4000, 5))).tolist()) < 0.02
    with pytest.raises(ValueError, match="two or more sessions"):
        stats.session_sd([[1.0, 2.0]])


def test_pocock_levels_are_the_published_ones() -> None:
    """Pocock 1977, table 1, and Jennison and Turnbull 2000, table 2.1: equally spaced looks at 5 %."""
    assert stats.pocock_level((1,)) == pytest.approx(0.05, abs=1e-6)
    assert stats.pocock_level((1, 2)) == pytest.approx(0.0294, abs=5e-5)
    assert stats.pocock_level((1, 2, 3)) == pytest.approx(0.0221, abs=6e-5)
    assert stats.pocock_level((1, 2, 3, 4, 5)) == pytest.approx(0.0158, abs=5e-5)


def test_crossing_probability_agrees_with_the_multivariate_normal() -> None:
    covariance = [[1, 0.5**0.5, 0.5], [0.5**0.5, 1, 0.5**0.5], [0.5, 0.5**0.5, 1]]
    inside = reference.multivariate_normal([0, 0, 0], covariance).cdf([2.3] * 3, lower_limit=[-2.3] * 3)
    assert stats.crossing_probability(2.3, (8, 16, 32)) == pytest.approx(1 - inside, abs=1e-4)
    assert 0 < stats.crossing_probability(7.0, (8, 16)) < 1e-10
    with pytest.raises(ValueError, match="ascending"):
        stats.crossing_probability(2.0, (8, 8))


def test_sequential_p_undoes_the_level() -> None:
    looks = (8, 16, 32)
    assert stats.sequential_p(stats.pocock_level(looks), looks) == pytest.approx(0.05, abs=1e-6)
    assert stats.sequential_p(1.0, looks) == 1.0


def test_import_is_cheap() -> None:
    code = "import sys, bench.stats, bench.labels, bench.summary, bench.compare; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
