"""The HTML page: everything computed here, nothing but loops in the templates, which escape all text by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.cell import Cell
from bench.labels import meaning
from bench.report import (
    ReportMeta,
    audit,
    cells,
    course,
    first_screen,
    headline,
    machines,
    pictures,
    plots,
    policy,
    scaling,
    sections,
    shown,
    stages,
    trends,
)
from bench.report.evidence import Process
from bench.report.facts import accelerations, count, outcome_word, unspeakable, without_wrong
from bench.report.ink import Picture, StyleSheet
from bench.report.sections import WorkTable
from bench.summary import CellSummary

if TYPE_CHECKING:
    from bench.verdict import Comparison

#: A list of this many lines is read by nobody; what is cut is said.
MAX_SKIPPED = 50
#: The end of a log is where the reason stands.
MAX_LOG = 8_000

TIMED = (
    "Throughput: several iterations in flight, one fence at the end of a burst; items per second of wall time.",
    "Latency: one iteration and its fence, call by call; p50, p90 and p99.",
    "The fence is the framework's own barrier, or a read of a dependent value on the host where that is not one.",
    "Every figure comes from fresh processes: the estimate is the geometric mean of the process medians, "
    "the interval is Student's t on their logarithms.",
)
NOT_TIMED = (
    "Starting the process, importing, loading weights and inputs, the first call with its compilation, and warm-up: "
    "they stand apart, under each work.",
    "Verification: it runs before any timing, and a cell that fails it is not timed for the report.",
    "Putting weights and optimizer state back between bursts of training.",
    "The stages of an iteration: each has a fence of its own, in passes apart from the bursts.",
    "The clock sentinel between bursts, and the passes for device memory (before warm-up) and energy (after all else).",
    "Profiles: they are taken in processes of their own.",
)


@dataclass(frozen=True)
class Made:
    """A page and the pictures that it carries."""

    html: str
    pictures: tuple[Picture, ...]


@dataclass
class Album:
    """Turns pictures into markup as the templates come to them, and remembers them and their styles."""

    styles: StyleSheet = field(default_factory=StyleSheet)
    pictures: list[Picture] = field(default_factory=list)

    def svg(self, picture: Picture) -> Markup:
        """The picture's element."""
        self.pictures.append(picture)
        return Markup(picture.inline(self.styles))


def make(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> Made:
    """The whole page. The body is made first: only then it is known which styles its pictures need."""
    templates = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    album = Album()
    told = values(summaries, comparisons, meta) | {"svg": album.svg}
    body = templates.get_template("body.html.j2").render(told)
    style, script = policy.style(album.styles.css), policy.script()
    html = templates.get_template("page.html.j2").render(
        meta=meta,
        body=Markup(body),
        # Both are files of this package and classes that matplotlib wrote: no text from records is in them.
        style=Markup(style),
        script=Markup(script),
        policy=policy.policy(script, style),
        data=policy.data({"raw": meta.evidence.raw, "name": meta.runs[-1] if meta.runs else "twinbench"}),
        licences=policy.licences(),
        shown=shown.block(shown.report(summaries, comparisons, meta)),
    )
    return Made(html, tuple(album.pictures))


def values(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> dict[str, Any]:
    """All that the templates name, in the order of the page."""
    series = pictures.series_of(summaries)
    tables = sections.grid(summaries, meta.baseline)
    gains = accelerations(summaries)
    evidence = meta.evidence
    roofs = plots.rooflines(summaries, evidence.processes, series)
    tradeoffs = plots.tradeoffs(summaries)
    drawn = _drawn(tables)
    named = {table.label for table in tables[:drawn]}
    kept = [plot for plot in tradeoffs if plot.label in named]
    return {
        "meta": meta,
        "when": when(meta),
        "count": count,
        "json": policy.data,
        "headline": headline.headline(summaries, meta.baseline),
        "acceleration": [headline.acceleration_sentence(gain) for gain in gains],
        "no_acceleration": headline.no_acceleration(summaries),
        "counts": headline.counts_sentence(summaries),
        "cards": first_screen.cards(summaries, meta.baseline),
        "answer_picture": pictures.answer(summaries, series, meta.baseline),
        "excluded": [(gain.device, gain.excluded) for gain in gains if gain.excluded],
        "slower": [
            (id_, label, sections.ratio_text(ratio)) for id_, label, ratio in first_screen.slower_rows(summaries)
        ],
        "answers": headline.answers(summaries, meta.baseline),
        "problems": sections.problems(summaries),
        "max_log": MAX_LOG,
        "tables": tables,
        "choices": cells.baseline_choices(summaries),
        "outcomes": list(dict.fromkeys((one.outcome, outcome_word(one.outcome)) for one in summaries)),
        "rows": cells.rows(summaries, meta.baseline),
        "comparisons": [_comparison(one, summaries) for one in comparisons],
        "comparison_picture": pictures.verdicts(without_wrong(comparisons, summaries), meta.margin),
        "works": _works(tables, summaries, evidence.processes, series),
        "works_cut": _works_cut(drawn, len(tables)),
        "start_up_stages": [label for _, label in sections.START_UP],
        "ways": audit.ways_tables(summaries),
        "tradeoffs": kept,
        "tradeoffs_cut": "" if len(kept) == len(tradeoffs) else _works_cut(drawn, len(tables)),
        "precision_rows": audit.precision_rows(summaries),
        **_scalings(summaries, series),
        "rooflines": roofs[: pictures.MAX_ROOFS],
        "rooflines_cut": _roofs_cut(len(roofs)),
        "roof_rows": plots.roof_rows(summaries, evidence.processes),
        "parity": sections.parity(summaries),
        "coverage": audit.coverage_tables(summaries, meta.audits),
        "trends": trends.panels(meta.trends),
        "trends_cut": trends.cut(len(meta.trends)),
        "selftest": evidence.selftest,
        "timeline": course.timeline(evidence.processes),
        "course": course.rows(evidence.processes),
        "processes": len(evidence.processes) + evidence.processes_cut,
        **_noise(summaries),
        "machine": machines.machine_of(summaries),
        "timed": TIMED,
        "not_timed": NOT_TIMED,
        "entries": cells.entries(summaries, meta.options),
        "raw": bool(evidence.raw),
        "raw_note": evidence.raw_note,
        "skipped": meta.skipped_lines[:MAX_SKIPPED],
        "skipped_cut": max(0, len(meta.skipped_lines) - MAX_SKIPPED),
    }


@dataclass(frozen=True)
class Work:
    """All about one work: its figures (None beyond the cap, or where there is nothing to draw) and tables."""

    table: sections.WorkTable
    bars: Picture | None
    boxes: Picture | None
    latency: sections.LatencyTable | None
    staged: stages.StagesTable | None
    stages_picture: Picture | None
    start_up: tuple[tuple[str, list[str]], ...]
    details: stages.DetailTable | None


def _works(
    tables: Sequence[sections.WorkTable],
    summaries: Sequence[CellSummary],
    processes: Sequence[Process],
    series: Mapping[str, int],
) -> list[Work]:
    by_cell: dict[Cell, list[Process]] = {}
    for process in processes:
        by_cell.setdefault(process.cell, []).append(process)
    split = {table.label: table for table in stages.stages_tables(summaries)}
    details = {table.label: table for table in stages.detail_tables(summaries)}
    start_up = dict(sections.start_up(summaries))
    found = []
    most = _drawn(tables)
    for index, table in enumerate(tables):
        drawn = index < most
        staged = split.get(table.label)
        found.append(
            Work(
                table,
                pictures.bars(table, series, index) if drawn else None,
                pictures.boxes(table, series, by_cell, index) if drawn else None,
                sections.latency_table(table.label, table.members),
                staged,
                pictures.stages(staged, index) if drawn and staged else None,
                tuple(start_up.get(table.label, ())),
                details.get(table.label),
            )
        )
    return found


def when(meta: ReportMeta) -> str:
    """``2026-11-22 10:00 to 10:21 UTC``; times that are not ISO 8601 stand as they are."""
    try:
        start, end = (
            datetime.fromisoformat(text or "").astimezone(UTC) for text in (meta.started_at, meta.finished_at)
        )
    except ValueError:
        return f"{meta.started_at or 'start unknown'} to {meta.finished_at or 'end unknown'}"
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} to {until} UTC"


def _comparison(one: Comparison, summaries: Sequence[CellSummary]) -> dict[str, Any]:
    verdict = one.verdict
    hidden = bool({one.cell_a.id, one.cell_b.id} & unspeakable(summaries))
    return {
        "a": one.cell_a.label,
        "b": one.cell_b.label,
        "kind": one.kind,
        "word": "not shown" if hidden else verdict.word,
        "ratio": "" if hidden or verdict.ratio is None else sections.ratio_text(verdict.ratio),
        "blocks": verdict.blocks,
        "p_value": "–" if hidden or verdict.p_value is None else f"{verdict.p_value:.2g}",
        "detail": "one side gave wrong or implausible results" if hidden else verdict.detail,
        "notes": "; ".join(one.notes),
        "clock": one.clock,
        "wall": "" if hidden or one.wall is None or one.clock == "wall" else sections.ratio_text(one.wall),
    }


def _scalings(summaries: Sequence[CellSummary], series: Mapping[str, int]) -> dict[str, Any]:
    """(scaling, its chart), the first few only: a page of curves is read by nobody."""
    found = scaling.scalings(summaries)
    kept = found[: pictures.FIRST_WORKS]
    cut = "" if len(kept) == len(found) else f"The first {len(kept)} of {len(found)} scalings are shown."
    charts = [plots.scaled(one, series, index) for index, one in enumerate(kept)]
    return {"scalings": list(zip(kept, charts, strict=True)), "scalings_cut": cut}


def _noise(summaries: Sequence[CellSummary]) -> dict[str, Any]:
    labels, rows = sections.noise(summaries)
    return {
        "noise_labels": labels,
        "noise_rows": rows,
        "noise_meanings": [(label, meaning(label)) for label in labels],
    }


def _roofs_cut(total: int) -> str:
    if total <= pictures.MAX_ROOFS:
        return ""
    return f"The first {pictures.MAX_ROOFS} of {total} environments and devices are drawn; the table holds all cells."


def _drawn(tables: Sequence[WorkTable]) -> int:
    """How many works, from the first on, have figures."""
    cells_up_to = accumulate(len(table.members) for table in tables[: pictures.MAX_WORKS])
    return max(pictures.FIRST_WORKS, sum(cells <= pictures.MAX_CELLS for cells in cells_up_to))


def _works_cut(drawn: int, total: int) -> str:
    if total <= drawn:
        return ""
    return f"Figures are drawn for the first {drawn} of {total} works; the tables hold all of them."
