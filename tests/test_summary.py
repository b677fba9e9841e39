"""Records in, one row per cell out."""

from __future__ import annotations

import math

import pytest

from bench.record import Failed, TimedOut, Unsupported, Wrong
from bench.summary import process_sample, summarise
from tests.samples import CELL, MS, bursts, measurement, record

FAILED = Failed("load", "RuntimeError", "out of memory", "last words")
WRONG = Wrong("outputs", 0.3, 1e-3, "logits")


def test_process_sample_is_the_median_burst_in_items_per_second() -> None:
    sample = process_sample(record(measured=measurement(bursts=bursts([50 * MS, 40 * MS, 900 * MS], [25 * MS] * 3))))
    assert sample.rate == pytest.approx(64 / 0.005)
    assert sample.cpu_rate == pytest.approx(64 / 0.0025)
    assert sample.stages_s == {"open": 2.0, "load": 0.01}
    assert (sample.error, sample.limit, sample.producer) == (1e-6, 2e-5, "numpy-fp64")


def test_without_time_there_is_no_rate() -> None:
    sample = process_sample(record(measured=measurement(bursts=bursts([50 * MS], [0]), latency_ns=[0])))
    assert sample.rate is not None
    assert sample.cpu_rate is None
    (row,) = summarise([record(measured=measurement(latency_ns=[0]))])
    assert (row.latency_s, row.latency_samples) == (None, 0)
    assert process_sample(record(measured=measurement(bursts=bursts([])))).rate is None


@pytest.mark.parametrize(("processes", "each", "told"), [(1, 1, 1), (9, 1, 1), (10, 1, 2), (3, 33, 2), (4, 25, 3)])
def test_a_percentile_needs_the_samples_to_reach_it(processes: int, each: int, told: int) -> None:
    """p90 from 10 samples of the cell on, p99 from 100; of all processes together."""
    taken = [[(1 + number * each + i) * MS for i in range(each)] for number in range(processes)]
    (row,) = summarise(record(process=i, measured=measurement(latency_ns=ns)) for i, ns in enumerate(taken))
    n = processes * each
    assert row.latency_samples == n
    places = (0.001 * (1 + share * (n - 1)) for share in (0.5, 0.9, 0.99))
    wanted = [place if number < told else None for number, place in enumerate(places)]
    assert row.latency_s == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("outcome", "tag", "reason"),
    [
        (Unsupported("no such mode"), "unsupported", "no such mode"),
        (WRONG, "wrong", "outputs: error 0.3, limit 0.001; logits"),
        (Wrong("outputs", None, 1e-3, ""), "wrong", "outputs: error not a number, limit 0.001"),
        (FAILED, "failed", "load: RuntimeError: out of memory"),
        (TimedOut("burst", 30.0), "timed_out", "burst: no answer within 30 s"),
    ],
)
def test_reasons_are_for_people(outcome: Unsupported | Wrong | Failed | TimedOut, tag: str, reason: str) -> None:
    sample = process_sample(record(outcome=outcome))
    assert (sample.outcome, sample.reason, sample.rate) == (tag, reason, None)


def test_measured_processes_make_an_interval_and_failures_stay_counted() -> None:
    walls = (50 * MS, 52 * MS, 48 * MS)
    records = [record(process=i, measured=measurement(bursts=bursts([ns] * 3))) for i, ns in enumerate(walls)]
    (row,) = summarise([*records, record(process=3, outcome=FAILED, verification=None)])
    assert (row.outcome, row.processes, row.attempted, row.item) == ("measured", 3, 4, "sample")
    assert row.throughput is not None
    assert row.throughput.estimate == pytest.approx(math.prod(row.rates) ** (1 / 3))
    assert row.throughput.low is not None
    assert row.throughput.low < min(row.rates)
    assert row.labels == {"stable": 4}
    assert row.tolerance_reason == "fp32 sums"


def test_wrong_beats_all_and_shows_no_speed() -> None:
    (row,) = summarise([record(), record(process=1, outcome=WRONG), record(process=2)])
    assert (row.outcome, row.error, row.limit) == ("wrong", 0.3, 1e-3)
    assert (row.throughput, row.latency_s, row.rates, row.processes) == (None, None, (), 0)


def test_a_not_a_number_is_the_worst_error() -> None:
    nan = Wrong("outputs", None, 1e-3, "NaN")
    (row,) = summarise([record(outcome=WRONG), record(process=1, outcome=nan), record(process=2, outcome=WRONG)])
    assert (row.error, row.limit) == (None, 1e-3)


def test_implausible_samples_never_enter() -> None:
    fast = record(process=1, measured=measurement(bursts=bursts([1] * 3)), labels=["implausible:scaling"])
    (mixed,) = summarise([record(), fast])
    assert (mixed.outcome, mixed.processes) == ("measured", 1)
    (alone,) = summarise([fast])
    assert (alone.outcome, alone.throughput) == ("implausible", None)
    assert alone.reason == "implausible:scaling in 1 of 1 processes"


def test_else_the_commonest_failure_with_its_log() -> None:
    late = TimedOut("burst", 30.0)
    (row,) = summarise([record(outcome=late), *(record(process=i, outcome=FAILED) for i in (1, 2))])
    assert (row.outcome, row.reason, row.log_tail) == ("failed", "load: RuntimeError: out of memory", "last words")


def test_rows_come_in_the_order_of_the_words_from_a_stream() -> None:
    cells = [CELL.but(environment=name) for name in ("torch", "jax", "tensorflow")]
    rows = summarise(record(cell) for cell in cells)
    assert [row.cell.environment for row in rows] == ["jax", "tensorflow", "torch"]
    assert rows[0].throughput is not None
    assert rows[0].throughput.low is None
