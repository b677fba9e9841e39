"""What a person sees while a run goes on, on a terminal and in a log."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from bench.progress import Estimate, Live, Plain, outcome_text, progress
from bench.record import Wrong
from tests import samples


def test_a_terminal_gets_a_bar_with_cell_stage_and_estimate() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=140, color_system=None)
    record = samples.record()
    with progress(console) as view:
        assert isinstance(view, Live)
        view.look("torch", "cpu")
        view.planned(2)
        view.stage(record.cell, "first_call")
        view.block([record])
        view.stage(record.cell, "verify")
        view.note("something to know")
        time.sleep(0.6)  # two redraws
        view.block([record])
    text = out.getvalue()
    assert f"{record.cell.label} · verify" in text
    assert "1/2" in text
    assert "left" in text
    assert "measured" in text
    assert "note: something to know" in text


def test_a_log_gets_one_line_a_record_with_its_place_and_outcome() -> None:
    out = io.StringIO()
    record = samples.record()
    with progress(Console(file=out, width=200)) as view:
        assert isinstance(view, Plain)
        view.look("torch", "cpu")
        view.planned(3)
        view.stage(record.cell, "verify")
        view.block([record])
        view.block([])
        view.block([record, record])
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + 1 + 2
    assert "[1/3]" in lines[1]
    assert "[3/3]" in lines[3]
    assert record.cell.label in lines[1]


def test_brackets_in_a_reason_are_text_and_not_markup() -> None:
    out = io.StringIO()
    record = samples.record(outcome=Wrong("outputs", 0.5, 0.1, "[bold]not markup[/bold] [red"))
    with progress(Console(file=out, width=400)) as view:
        view.planned(1)
        view.block([record])
    assert "[bold]not markup[/bold] [red" in out.getvalue()


def test_an_implausible_process_shows_no_speed() -> None:
    record = samples.record(labels=["implausible:scaling"])
    assert "implausible" in outcome_text(record).plain
    assert "/s" not in outcome_text(record).plain


def test_no_estimate_before_anything_ran_and_none_at_the_end() -> None:
    estimate = Estimate()
    estimate.plan(2)
    assert str(estimate) == ""
    estimate.count(ran=False)
    assert str(estimate) == "", "a skipped block says nothing about the others"
    estimate.count(ran=True)
    assert str(estimate) == ""


@pytest.mark.parametrize(("seconds", "said"), [(10.0, "about 10 s left"), (600.0, "about 10 min left")])
def test_the_estimate_is_in_words(monkeypatch: pytest.MonkeyPatch, seconds: float, said: str) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    estimate = Estimate()
    estimate.plan(2)
    now[0] = seconds
    estimate.count(ran=True)
    assert str(estimate) == said
