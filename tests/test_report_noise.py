"""How quiet the machine was: one rule for the first screen, the time-line and the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import index
from bench.labels import state_of
from bench.record import Failed
from bench.report import course, figures, raw
from bench.report.evidence import process_of
from bench.report.first_screen import cards
from bench.report.ink import PAPER
from bench.report.sections import noise_text
from bench.store import lines
from bench.summary import summarise
from tests.samples import measurement, record
from tests.stored_runs import write

#: Labels of a process, and what they say together.
PROCESSES: tuple[tuple[list[str], str], ...] = (
    (["stable"], "quiet"),
    (["stable", "emulated"], "quiet"),
    ([], "quiet"),
    (["stable", "contended"], "contended"),
    (["stable", "clock-drift"], "drift or throttled"),
    (["noisy", "contended"], "contended"),
    (["noisy", "emulated"], "noisy"),
    (["throttled"], "drift or throttled"),
    (["imported:pyperf", "not-verified"], "not measured"),
)


@pytest.mark.parametrize(("labels", "state"), PROCESSES)
def test_the_worst_label_counts(labels: list[str], state: str) -> None:
    assert state_of("measured", labels) == state
    assert state_of("failed", labels) == "not measured"
    assert state in figures.STATES


def test_stable_beside_contended_is_not_quiet(tmp_path: Path) -> None:
    """Four of these processes are ``stable`` and three are quiet, other ones; each place that counts says so."""
    ran = [record(process=n, measured=measurement(), labels=labels) for n, (labels, _) in enumerate(PROCESSES[:-1])]
    records = [*ran, record(process=9, outcome=Failed("load", "MemoryError", "no room", ""), labels=[])]
    summaries = summarise(records)
    sure = cards(summaries, "")[-1]
    assert sure.detail.endswith("3 of 8 processes were quiet.")
    drawn = course.timeline([process_of(one) for one in records])
    assert drawn is not None
    colours = [bar.get_facecolor() for bar in drawn.draw(PAPER).axes[0].patches]
    assert sum(colour == colours[0] for colour in colours) == 3
    folder = write(tmp_path, "20261123-000000-0000", records)
    (entry,) = index.entries(tmp_path, remember=False)
    assert entry.noisy == 5
    assert raw.index(lines(folder, [], index.glance))["noisy"] == 5


def test_emulated_is_not_noise() -> None:
    (one,) = summarise([record(measured=measurement(), labels=["stable", "emulated"])])
    assert noise_text(one) == ""
