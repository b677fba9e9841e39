"""The course of a run: which process ran when, and what the machine was like. Pure but for the figure's picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from bench.labels import state_of
from bench.report import figures, numbers
from bench.report.evidence import Process
from bench.report.facts import outcome_word
from bench.report.figures import Stroke
from bench.report.ink import Picture
from bench.report.machines import text

#: Rows of the time-line, and bars that can be told apart in it.
MAX_LANES, MAX_STROKES, MAX_ROWS = 24, 400, 1_000


@dataclass(frozen=True)
class CourseRow:
    """One process in the table under the time-line. ``minute`` is its start, for sorting and for people."""

    minute: str
    id: str
    cell: str
    number: int
    outcome: str
    labels: str
    lasted: str
    load: str
    others: str
    calibration: str
    power: str


def _minutes(processes: Sequence[Process]) -> list[float | None]:
    """When each started, in minutes since the first; None where its time cannot be read."""
    starts: list[float | None] = []
    for one in processes:
        try:
            starts.append(datetime.fromisoformat(one.started_at).timestamp())
        except (ValueError, OverflowError):
            starts.append(None)
    first = min((start for start in starts if start is not None), default=0.0)
    return [None if start is None else (start - first) / 60 for start in starts]


def timeline(processes: Sequence[Process]) -> Picture | None:
    """The figure; None where no process has a time."""
    timed = [(one, start) for one, start in zip(processes, _minutes(processes), strict=True) if start is not None]
    lanes = list(dict.fromkeys(f"{one.cell.environment}/{one.cell.device}" for one, _ in timed))[:MAX_LANES]
    inside = [(one, start) for one, start in timed if f"{one.cell.environment}/{one.cell.device}" in lanes]
    kept = inside[:MAX_STROKES]
    if not kept:
        return None
    strokes, hover = [], []
    for number, (one, start) in enumerate(kept):
        gid = f"process-{number}"
        lane = lanes.index(f"{one.cell.environment}/{one.cell.device}")
        strokes.append(Stroke(lane, start, max(one.wall_s / 60, 1e-6), state_of(one.outcome, one.labels), gid))
        told = ", ".join(one.labels) or outcome_word(one.outcome)
        hover.append((gid, f"{one.cell.label}, process {one.number}: {told}, {numbers.duration(one.wall_s)}"))
    cut = "" if len(kept) == len(processes) else f"The figure shows {len(kept)} of {len(processes)} processes."
    alt = f"When {len(kept)} processes ran, and how quiet the machine was; the table below has them one by one"
    return Picture("time-line", partial(figures.timeline, strokes, lanes), alt, cut, tuple(hover))


def rows(processes: Sequence[Process]) -> list[CourseRow]:
    """One per process, in the order in which they were recorded; the first ``MAX_ROWS``."""
    return [
        CourseRow(
            minute="–" if start is None else f"{start:.1f}",
            id=one.cell.id,
            cell=one.cell.label,
            number=one.number,
            outcome=outcome_word(one.outcome),
            labels=", ".join(one.labels) or "–",
            lasted=numbers.duration(one.wall_s),
            load=text(_rounded(one.power.get("load_1min"))),
            others="–" if one.foreign_share is None else numbers.percent(one.foreign_share),
            calibration="–" if one.calibration_change is None else f"{100 * one.calibration_change:+.1f} %",
            power=power_text(one.power),
        )
        for one, start in zip(processes[:MAX_ROWS], _minutes(processes[:MAX_ROWS]), strict=True)
    ]


def _rounded(value: object) -> object:
    return round(value, 1) if isinstance(value, float) else value


def power_text(power: Mapping[str, Any]) -> str:
    """``on battery, Low Power Mode, thermal nominal``; "unknown" where the machine does not say."""
    told = []
    if power.get("ac") is not None:
        told.append("mains" if power["ac"] else "on battery")
    if power.get("low_power_mode"):
        told.append("Low Power Mode")
    if power.get("thermal_pressure") is not None:
        told.append(f"thermal {power['thermal_pressure']}")
    if power.get("governor") is not None:
        told.append(f"governor {power['governor']}")
    return ", ".join(told) or "unknown"
