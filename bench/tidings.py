"""What a night has to say, for people and for programs: a table, Markdown for CI, JSON for what reads alerts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.changepoints import Prediction
from bench.history import Found, Series
from bench.nightly import Finding, Night, changed_since
from bench.stats import t_quantile

ALERTS = "alerts.json"
SUMMARY = "summary.md"
ALERTS_VERSION = 1
#: GitHub shows what is appended to the file that this variable names on the page of the job.
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
NOTHING_CHANGED = "nothing that is recorded changed"


def percent(log_ratio: float) -> str:
    """``-9.1 %``: how much faster (above 0) or slower the newest side is."""
    return f"{math.expm1(log_ratio):+.1%}".replace("%", " %")


def span(point_error: float, log_ratio: float, blocks: int) -> str:
    """The 95 % interval of one night, from its blocks."""
    half = t_quantile(0.975, max(1, blocks - 1)) * point_error
    return f"{percent(log_ratio - half)} to {percent(log_ratio + half)}"


def size_words(found: Found) -> str:
    """``9.1 % slower``."""
    share = math.expm1(found.change.size)
    return f"{abs(share):.1%}".replace("%", " %") + (" slower" if share < 0 else " faster")


def blame(found: Found) -> str:
    """What changed with it."""
    if not found.causes:
        return NOTHING_CHANGED
    near = " (a night beside the estimated place)" if found.nearby else ""
    return "; ".join(map(str, found.causes)) + near


def sentence(series: Series, found: Found) -> str:
    """One change in one line: cell, size, since when, how it was found, and what changed with it."""
    since = series.points[found.change.first]
    how = {
        "step": "the level changed and stayed",
        "drift": "slowly, against the first nights of the series",
        "tonight": "in two measurements of one night",
    }[found.change.kind]
    return (
        f"{series.cell.label}: {size_words(found)} since {since.started_at[:10]} ({since.run}), {how}; {blame(found)}"
    )


def headline(night: Night) -> str:
    """The first line of everything."""
    slower, faster = night.alarms, [one for one in night.findings if one.found and not one.slower]
    measured = sum(one.point.outcome == "measured" for one in night.findings)
    words = [f"{len(slower)} slower"] if slower else ["no alarm"]
    words += [f"{len(faster)} faster"] if faster else []
    suspects = sum(one.suspect for one in night.findings)
    words += [f"{suspects} suspected"] if suspects else []
    lost = len(night.findings) - measured
    words += [f"{lost} not measured"] if lost else []
    return f"Night {night.nights}: {', '.join(words)}; {measured} {'cell' if measured == 1 else 'cells'} measured"


def lines(night: Night) -> Iterator[str]:
    """Everything but the table: alarms first."""
    for one in night.findings:
        if one.series is None:
            yield f"not measured: {one.point.cell.label}: {one.point.outcome}: {one.point.reason}"
        elif one.found is not None:
            yield f"{'ALARM' if one.slower else 'faster'}: {sentence(one.series, one.found)}"
        elif one.suspect:
            changed = "; ".join(changed_since(one)) or NOTHING_CHANGED
            times = "once" if one.unfinished else "twice"
            yield (
                f"suspected: {one.point.cell.label}: {percent(one.point.log_ratio or 0.0)}, expected "
                f"{expected_words(one.expected)}, measured {times}; {changed}; an alarm when it lasts"
            )
        if one.unfinished:
            yield f"not confirmed: {one.point.cell.label}: {one.point.reason}"
        if one.series is not None and one.series.began and len(one.series.points) == 1:
            yield f"a new series: {one.point.cell.label}: {one.series.began}"
    yield from (f"note: {note}" for note in night.notes)


def expected_words(prediction: Prediction | None) -> str:
    """Where tonight was expected."""
    if prediction is None:
        return "–"
    low, high = prediction.interval()
    return f"{percent(low)} to {percent(high)}"


def _row(one: Finding) -> tuple[str, ...]:
    point = one.point
    if point.log_ratio is None or one.series is None:
        return point.cell.label, "–", "–", "–", "0", f"{point.outcome}: {point.reason}"
    if len(one.series.points) == 1 or one.expected is None:
        words = "new series" if len(one.series.points) == 1 else "too few nights to say"
    else:
        words = "outside of the expected" if one.outside else "as expected"
    if one.found is not None:
        words = f"{'ALARM' if one.slower else 'change'}: {size_words(one.found)}"
    elif one.suspect:
        words = "suspected" + (", not confirmed" if one.unfinished else "")
    elif point.first is not None:
        words += " when measured again"
    ratio = f"{percent(point.log_ratio)} ({span(point.error or 0.0, point.log_ratio, point.blocks)})"
    return point.cell.label, ratio, point.clock, expected_words(one.expected), str(len(one.series.points)), words


HEADS = ("cell", "newest against pinned", "clock", "expected", "nights", "verdict")


def table(night: Night) -> Table:
    """For a terminal."""
    made = Table(title=headline(night), title_justify="left")
    for head in HEADS:
        made.add_column(head, overflow="fold")
    for one in night.findings:
        style = "red" if one.slower else "green" if one.found else "yellow" if one.suspect else ""
        *cells, verdict = _row(one)
        made.add_row(*map(Text, cells), Text(verdict, style))
    return made


def markdown(night: Night) -> str:
    """For a CI page or a pull request."""
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in _row(one)) + " |" for one in night.findings]
    said = [f"- {line}" for line in lines(night)]
    head = ["| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
    return "\n".join([f"### {headline(night)}", "", *said, *([""] if said else []), *head, *rows, ""])


def alerts(night: Night) -> dict[str, Any]:
    """For programs: see docs/nightly.md."""
    return {
        "schema": ALERTS_VERSION,
        "run": night.folder.name,
        "nights": night.nights,
        "alarms": [_alert(one) for one in night.findings if one.slower],
        "improvements": [_alert(one) for one in night.findings if one.found is not None and not one.slower],
        "suspected": [{**_cell(one), "reason": one.point.reason} for one in night.findings if one.suspect],
        "not_measured": [
            {**_cell(one), "outcome": one.point.outcome, "reason": one.point.reason}
            for one in night.findings
            if one.series is None
        ],
        "known": [_known(one, found) for one in night.findings for found in one.known],
        "notes": list(night.notes),
        "skipped_lines": list(night.problems),
    }


def _cell(one: Finding) -> dict[str, Any]:
    ratio = one.point.log_ratio
    return {
        "cell_id": one.point.cell.id,
        "cell": one.point.cell.words(),
        "label": one.point.cell.label,
        "candidate": one.point.candidate,
        "ratio": None if ratio is None else math.exp(ratio),
    }


def _known(one: Finding, found: Found) -> dict[str, Any]:
    assert one.series is not None
    since, at = one.series.points[found.change.first], one.series.points[found.found_at]
    return {
        **_cell(one),
        "kind": found.change.kind,
        "change": math.expm1(found.change.size),
        "strength": found.change.strength,
        "first_night": since.run,
        "first_night_started_at": since.started_at,
        "found_night": at.run,
        "attribution": [
            {"kind": cause.kind, "name": cause.name, "before": cause.before, "after": cause.after}
            for cause in found.causes
        ],
        "attribution_is_nearby": found.nearby,
    }


def _alert(one: Finding) -> dict[str, Any]:
    assert one.series is not None
    assert one.found is not None
    return {**_known(one, one.found), "text": sentence(one.series, one.found)}


def write(night: Night, variables: Mapping[str, str] = os.environ) -> tuple[list[Path], list[str]]:
    """``alerts.json`` and ``summary.md`` into the night's folder; the summary also where CI shows it.

    Returns what was written, and a sentence for each file that could not be: an alarm is said once, and must not end
    with a file.
    """
    text = markdown(night)
    made, problems = [], []
    contents = {ALERTS: json.dumps(alerts(night), indent=2, ensure_ascii=False) + "\n", SUMMARY: text}
    places = [(night.folder / name, content, "w") for name, content in contents.items()]
    shown = variables.get(STEP_SUMMARY)
    if shown:
        places.append((Path(shown), text + "\n", "a"))
    for path, content, how in places:
        try:
            with path.open(how, encoding="utf-8") as file:
                file.write(content)
        except OSError as error:
            problems.append(f"cannot write {path}: {error.strerror}")
        else:
            made.append(path)
    return made, problems
