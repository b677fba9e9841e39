"""Verdicts, duets and stored runs, on made-up measurements."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bench import environments, run
from bench.cell import Cell
from bench.compare import BETWEEN_SESSION_SD, aa_floor, block_log_ratio, compare_duets, compare_runs, decide, refusal
from bench.process import LAUNCH
from bench.record import Failed, Record, Wrong
from bench.stats import Floats, Interval
from bench.summary import CellSummary, summarise
from bench.verdict import Comparison, Verdict, comparable_facts, corrected, mean_of, word_of
from tests.samples import CELL, MS, bursts, fingerprint, measurement, record

FAST = CELL.but(environment="jax")


def noise(count: int, sd: float = 0.01, seed: int = 0) -> Floats:
    """Log-ratios around zero whose mean is exactly zero."""
    drawn: Floats = np.random.RandomState(seed).normal(0, sd, count)
    centred: Floats = drawn - drawn.mean()
    return centred


def duet(blocks: int, gain: float, sd: float = 0.01, b: object = FAST, cpu_gain: float | None = None) -> list[Record]:
    """Records of blocks in which the second side is ``gain`` times as fast (``cpu_gain`` in CPU time)."""
    found = []
    for index, log in enumerate(noise(blocks, sd)):
        wall = int(50 * MS / gain * math.exp(log))
        cpu = int(50 * MS / (cpu_gain or gain) * math.exp(log))
        sides = ((CELL, 50 * MS, 50 * MS), (b, wall, cpu))
        for process, (cell, wall_ns, cpu_ns) in enumerate(sides):
            timed = measurement(bursts=bursts([wall_ns] * 5, [cpu_ns] * 5))
            found.append(record(cell, 2 * index + process, measured=timed, block=f"b{index}"))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.04, 1.2, "faster"),
        (1.02, 1.2, "inconclusive"),
        (0.98, 1.02, "same"),
        (0.5, 0.96, "slower"),
        (0.5, 0.99, "inconclusive"),
        (0.5, 2.0, "inconclusive"),
        (None, None, "inconclusive"),
    ],
)
def test_word_needs_the_whole_interval(low: float | None, high: float | None, word: str) -> None:
    assert word_of(Interval(1.0, low, high), 0.03) == word


def test_decide_stops_at_the_first_look_that_tells() -> None:
    verdict = decide(math.log(1.2) + noise(32))
    assert (verdict.word, verdict.blocks) == ("faster", 8)
    assert verdict.ratio is not None
    assert verdict.ratio.estimate == pytest.approx(1.2, rel=0.02)
    assert verdict.p_value is not None
    assert verdict.p_value < 0.001
    assert decide(-math.log(1.2) + noise(8)).word == "slower"
    assert decide(noise(8, 0.005)).word == "same"


def test_more_blocks_never_turn_a_verdict_round() -> None:
    logs = np.concatenate([0.2 + noise(8), -0.5 + noise(24)])
    assert decide(logs[:8]) == decide(logs)


def test_before_the_first_look_nothing_is_decided() -> None:
    verdict = decide([0.5, 0.51, 0.49])
    assert (verdict.word, verdict.p_value) == ("inconclusive", None)
    assert "about 5 more blocks" in verdict.detail
    single = decide([0.5]).ratio
    assert single is not None
    assert single.estimate == pytest.approx(math.exp(0.5))
    assert (single.low, single.high) == (None, None)


def test_inconclusive_says_what_it_would_take() -> None:
    detail = decide(math.log(1.06) + noise(8, 0.1)).detail
    assert "would not have shown in 8 blocks" in detail
    needed = int(detail.split("about ")[1].split()[0])
    words = [decide(math.log(1.06) + noise(8 + needed, 0.1, seed), looks=(8 + needed,)).word for seed in range(20)]
    assert words.count("faster") >= 14  # planned for four in five


def test_decide_refuses_what_is_no_ratio() -> None:
    with pytest.raises(ValueError, match="no log-ratio given"):
        decide([])
    with pytest.raises(ValueError, match="log-ratio 1 is nan"):
        decide([0.1, math.nan])
    with pytest.raises(ValueError, match=r"margin is -0\.1"):
        decide([0.1] * 8, margin=-0.1)


def test_block_log_ratio_is_the_median_round_and_counts_items() -> None:
    a = measurement(bursts=bursts([50 * MS, 500 * MS, 50 * MS]))
    b = measurement(bursts=bursts([100 * MS, 1000 * MS, 50 * MS]), items_per_iteration=128)
    assert block_log_ratio(a, b) == pytest.approx(0.0)
    assert block_log_ratio(b, b) == 0.0


def test_duet_of_one_thread_rests_on_cpu_time_and_shows_wall() -> None:
    (found,) = compare_duets(duet(8, 1.3))
    assert (found.kind, found.clock, found.verdict.word) == ("duet", "cpu", "faster")
    assert (found.cell_a, found.cell_b) == (CELL, FAST)
    assert found.wall is not None
    assert found.wall.estimate == pytest.approx(1.3, rel=0.01)


def test_several_threads_or_a_gpu_rest_on_wall_time() -> None:
    threaded = [replace_threads(one, 2) for one in duet(8, 1.3, cpu_gain=0.5)]
    assert [(one.clock, one.verdict.word) for one in compare_duets(threaded)] == [("wall", "faster")]
    gpu = compare_duets(duet(8, 1.3, b=CELL.but(device="metal")), clock="cpu")
    assert [one.clock for one in gpu] == ["wall"]


def replace_threads(one: Record, threads: int) -> Record:
    return record(
        one.cell, one.process, measured=one.measurement, block=one.block, fingerprint=fingerprint(threads=threads)
    )


def test_clocks_that_contradict_each_other_decide_nothing() -> None:
    (found,) = compare_duets(duet(8, 0.8, cpu_gain=1.3), clock="cpu")
    assert (found.verdict.word, found.verdict.detail) == (
        "inconclusive",
        "CPU time and wall time contradict each other",
    )


def test_sides_keep_their_place_whatever_the_order_of_records() -> None:
    records = duet(8, 1.3)
    swapped = records[:2] + [one for i in range(2, 16, 2) for one in (records[i + 1], records[i])]
    assert compare_duets(swapped) == compare_duets(records)


def test_a_cell_against_itself_is_told_apart_by_process_and_raises_the_margin() -> None:
    biased = duet(8, 1.2, b=CELL)
    shuffled = [biased[i] for i in np.random.RandomState(0).permutation(len(biased))]
    (found,) = compare_duets(shuffled)
    assert (found.kind, found.verdict.word) == ("duet-aa", "faster")
    other = [record(one.cell, one.process, measured=one.measurement, block="x" + one.block) for one in duet(8, 1.1)]
    pair = compare_duets(biased + other)[1]
    assert pair.verdict.word == "same"
    assert any("raised to the A/A floor" in note for note in pair.notes)
    assert aa_floor(math.log(1.2) + noise(8, 0.001)) == pytest.approx(0.2, abs=0.01)


def again(records: list[Record]) -> list[Record]:
    """The same records as blocks that were measured because others were flagged."""
    return [
        record(one.cell, 1000 + one.process, measured=one.measurement, block="again-" + one.block) for one in records
    ]


def test_a_word_needs_the_blocks_that_were_measured_again() -> None:
    (kept,) = compare_duets(duet(8, 1.3) + again(duet(4, 1.25)))
    assert (kept.verdict.word, kept.verdict.blocks) == ("faster", 8)
    assert "confirmed by 4 fresh blocks" in kept.verdict.detail
    (lost,) = compare_duets(duet(8, 1.3) + again(duet(4, 1.0)))
    assert lost.verdict.word == "inconclusive"
    assert "not confirmed by 4 fresh blocks" in lost.verdict.detail


def test_the_floor_of_this_machine_replaces_a_smaller_margin_by_clock() -> None:
    (found,) = compare_duets(duet(8, 1.1), machine_floors={"wall": 0.2, "cpu": 0.01})
    assert found.verdict.word == "faster"
    (found,) = compare_duets(duet(8, 1.1), machine_floors={"wall": 0.01, "cpu": 0.2})
    assert found.verdict.word == "same"
    assert found.notes == ("margin raised to the A/A floor of 20.0%",)


def test_a_checkout_starts_its_own_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, Path]] = []
    monkeypatch.setattr(run, "ProcessWorker", lambda python, variables, launch: started.append((python, launch)))
    spawn = run.spawner({"torch": "a", "torch@old": "b"}, {"torch@old": "/other"})
    for name in ("torch", "torch@old"):
        spawn(environments.get(name), "cpu", {})
    assert started == [("a", LAUNCH), ("b", Path("/other/bench/launch.py"))]


def test_three_blocks_are_looked_at_once() -> None:
    (found,) = compare_duets(duet(3, 5.0))
    assert (found.verdict.word, found.verdict.blocks) == ("faster", 3)
    (two,) = compare_duets(duet(2, 5.0))
    assert two.verdict.word == "inconclusive"


def test_wrong_sides_have_no_ratio_and_lost_blocks_are_told() -> None:
    wrong = record(FAST, 99, outcome=Wrong("outputs", 0.3, 1e-3, ""), block="w")
    (found,) = compare_duets([*duet(8, 1.3), record(CELL, 98, block="w"), wrong])
    assert (found.verdict.word, found.verdict.ratio) == ("inconclusive", None)
    assert found.verdict.detail.startswith("wrong: outputs")
    lost = [record(CELL, 90, block="z"), record(FAST, 91, outcome=Failed("open", "Error", "x", ""), block="z")]
    (kept,) = compare_duets(duet(8, 1.3) + lost)
    assert kept.verdict.word == "faster"
    assert kept.notes == ("1 of 9 blocks left out: failed: open: Error: x",)
    (none,) = compare_duets(lost)
    assert none.verdict == Verdict("inconclusive", None, 0, None, "no block has both sides")


def test_implausible_or_timeless_sides_are_left_out() -> None:
    liar = record(FAST, 90, labels=["implausible:fence"], block="y")
    timeless = record(FAST, 92, measured=measurement(bursts=bursts([0])), labels=[], block="z")
    (found,) = compare_duets([*duet(8, 1.3), record(CELL, 89, block="y"), liar, record(CELL, 91, block="z"), timeless])
    assert (found.verdict.word, found.verdict.blocks) == ("faster", 8)
    assert found.notes == (
        "1 of 10 blocks left out: implausible: implausible:fence",
        "1 of 10 blocks left out: implausible: no usable bursts",
    )


def test_refusal_names_the_fact_and_both_values() -> None:
    a = fingerprint()
    assert refusal(a, a) == []
    b = fingerprint(machine={"chip": "Imagined M8", "physical_cores": None}, power={"ac": False}, threads=4)
    assert refusal(a, b) == [
        "chip differs: Imagined M9 against Imagined M8",
        "ac differs: True against False",
        "threads differs: 1 against 4",
    ]
    assert refusal(a, b, {"chip", "ac", "threads"}) == []
    assert refusal(a, fingerprint(variables={"MLX_ENABLE_TF32": "1"})) == ["MLX_ENABLE_TF32 differs: unset against 1"]
    assert refusal(a, fingerprint(weights_sha256="cc", inputs_sha256="dd")) == [
        "weights_sha256 differs: aa against cc",
        "inputs_sha256 differs: bb against dd",
    ]


@pytest.mark.parametrize("name", [name for name in comparable_facts() if name != "precision"])
def test_one_fact_that_differs_is_enough(name: str) -> None:
    """Each alone, so that none may be missing where two sides are taken to be alike at a glance."""
    a = fingerprint(machine={name: "one"}, power={name: "one"}, variables={name: "one"})
    either: list[dict[str, Any]] = [
        {"threads": 4} if name == "threads" else {name: "other"} if name.endswith("_sha256") else {},
        *({kind: {name: "other"}} for kind in ("machine", "power", "variables")),
    ]
    said = [refusal(a, structs.replace(a, **changed)) for changed in either]
    assert [len(one) for one in said].count(1) == 1, said
    assert said.count([]) == len(said) - 1


def test_a_variable_of_one_framework_does_not_forbid_comparing_it_with_another() -> None:
    tf32 = fingerprint(variables={"MLX_ENABLE_TF32": "1"})

    def verdict_against(other: Cell) -> str:
        blocks = [
            row
            for number in range(8)
            for row in (
                record(CELL, number, measured=measurement(), block=f"b{number}"),
                record(other, number, measured=measurement(), block=f"b{number}", fingerprint=tf32),
            )
        ]
        return compare_duets(blocks)[0].verdict.detail

    assert "MLX_ENABLE_TF32 differs" in verdict_against(CELL.but(mode="another"))
    for place in (CELL.but(environment="another"), CELL.but(device="cuda"), CELL.but(precision="tf32")):
        assert "MLX_ENABLE_TF32" not in verdict_against(place)


def stored(rates: list[float], cell: object = CELL, **facts: object) -> CellSummary:
    walls = [int(64 * 1e10 / rate) for rate in rates]
    rows = summarise(
        record(cell, i, measured=measurement(bursts=bursts([ns] * 3)), **facts)  # type: ignore[arg-type]
        for i, ns in enumerate(walls)
    )
    return rows[0]


def test_stored_runs_carry_the_session_and_say_that_they_are_advisory() -> None:
    a, b = [stored([100.0, 101, 99, 100, 100])], [stored([110.0, 111, 109, 110, 110])]
    (quiet,) = compare_runs(a, b, between_session_sd=0.005).comparisons
    assert (quiet.kind, quiet.verdict.word) == ("stored", "faster")
    assert "advisory" in quiet.notes[0]
    (bad,) = compare_runs(a, b).comparisons
    assert bad.verdict.word == "inconclusive"
    assert "duet" in bad.verdict.detail


def test_stored_runs_of_other_machines_are_refused_and_the_mean_says_so() -> None:
    other = stored([100.0, 101], FAST, fingerprint=fingerprint(threads=4))
    a = [stored([100.0, 101]), stored([100.0, 101], FAST), stored([1.0], CELL.but(batch=1))]
    found = compare_runs(a, [stored([200.0, 202]), other], between_session_sd=0.0)
    assert found.comparisons[1].verdict.detail == "threads differs: 1 against 4"
    assert found.mean.interval is not None
    assert found.mean.interval.estimate == pytest.approx(2.0, rel=1e-6)
    assert found.mean.included == ((CELL, CELL),)
    assert [reason for _, reason in found.mean.excluded] == ["threads differs: 1 against 4", "in A only"]


def test_across_precision_cells_are_paired_that_differ_in_nothing_else() -> None:
    half = CELL.but(precision="fp16")
    tf32 = fingerprint(variables={"MLX_ENABLE_TF32": "1"})
    a = [stored([100.0, 101]), stored([9.0, 9], CELL.but(batch=1))]
    b = [stored([200.0, 202], half, fingerprint=tf32), stored([300.0, 303], CELL.but(precision="bf16", batch=2))]
    apart = compare_runs(a, b)
    assert apart.comparisons == ()
    assert [reason for _, reason in apart.mean.excluded] == ["in A only"] * 2 + ["in B only"] * 2
    (found,) = compare_runs(a, b, across=frozenset({"precision"})).comparisons
    assert (found.cell_a, found.cell_b) == (CELL, half)
    assert found.verdict.ratio is not None, "another precision has other switches"
    assert found.verdict.ratio.estimate == pytest.approx(2.0, rel=1e-6)
    both = [stored([100.0, 101]), stored([150.0, 151], half)]
    same = compare_runs(both, both, across=frozenset({"precision"})).comparisons
    assert [(one.cell_a, one.cell_b) for one in same] == [(CELL, CELL), (half, half)], "equal cells first"


def test_stored_wrong_or_single_process_gives_no_word() -> None:
    wrong = replace(stored([1.0, 2.0]), outcome="wrong", rates=(), reason="outputs")
    (found,) = compare_runs([stored([1.0, 2.0])], [wrong]).comparisons
    assert (found.verdict.ratio, found.verdict.detail) == (None, "B wrong: outputs")
    (single,) = compare_runs([stored([1.0])], [stored([9.0])]).comparisons
    assert (single.verdict.word, single.verdict.p_value) == ("inconclusive", None)


def test_the_mean_over_cells_of_identical_code_holds_one_whatever_the_sessions_were() -> None:
    """Six cells share the mood of their session; taken as independent they would exclude 1 nearly always."""
    random = np.random.RandomState(6)
    excluded = 0
    for _ in range(80):
        runs = []
        for mood in random.normal(0, BETWEEN_SESSION_SD, 2):
            logs = mood + random.normal(0, 0.02, (6, 5))
            runs.append([stored(list(100 * np.exp(row)), CELL.but(batch=64 + at)) for at, row in enumerate(logs)])
        mean = compare_runs(runs[0], runs[1]).mean.interval
        assert mean is not None
        assert mean.low is not None
        assert mean.high is not None
        excluded += not mean.low <= 1 <= mean.high
    assert excluded <= 9, "4 are expected of 80; with 10 or more chance is below 1 in 100"


def test_a_mean_says_what_its_interval_is_about() -> None:
    runs = [stored([100.0, 101]), stored([100.0, 101], FAST)]
    assert "two sessions, 0.22" in compare_runs(runs, runs).mean.meaning
    assert "not how well each was measured" in compare_runs(runs, runs, between_session_sd=0.0).mean.meaning


def test_many_cells_need_stronger_evidence() -> None:
    lucky = Comparison(CELL, FAST, "duet", Verdict("faster", Interval(1.1, 1.04, 1.2), 8, 0.04, "alone"))
    dull = replace(lucky, verdict=Verdict("inconclusive", Interval(1.0, 0.9, 1.1), 32, 0.8, ""))
    sure = replace(lucky, verdict=replace(lucky.verdict, p_value=1e-6))
    assert corrected([lucky]) == [lucky]
    words = [one.verdict.word for one in corrected([lucky, sure, *[dull] * 9])]
    assert words[:2] == ["inconclusive", "faster"]
    assert "alone, but not among 11" in corrected([lucky, sure, *[dull] * 9])[0].verdict.detail
    assert mean_of([]).interval is None
