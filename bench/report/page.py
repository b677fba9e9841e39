"""The HTML page: everything computed here, nothing but loops in the templates, which escape all text by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.report import ReportMeta, audit, headline, machines, pictures, scaling, sections, shown, stages
from bench.report.facts import (
    accelerations,
    command_for,
    count,
    outcome_counts,
    outcome_word,
    speed,
    unspeakable,
    without_wrong,
)
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
    "they stand apart under Start-up.",
    "Verification: it runs before any timing, and a cell that fails it is not timed for the report.",
    "Putting weights and optimizer state back between bursts of training.",
    "The stages of an iteration: each has a fence of its own, in passes apart from the bursts.",
    "The clock sentinel between bursts, and the passes for device memory (before warm-up) and energy (after all else).",
    "Profiles: they are taken in processes of their own.",
)


def render(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> str:
    """The whole page as text."""
    templates = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("page.html.j2").render(values(summaries, comparisons, meta))


def values(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> dict[str, Any]:
    """All that the template names."""
    tables = sections.grid(summaries, meta.baseline)
    series = pictures.series_of(summaries)
    drawn = [_drawn(table, series) for table in tables[: pictures.MAX_WORKS]]
    drawn += [(None, None)] * (len(tables) - len(drawn))
    gains = accelerations(summaries)
    labels, noise_rows = sections.noise(summaries)
    return {
        "meta": meta,
        "when": when(meta),
        "headline": headline.headline(summaries, meta.baseline),
        "acceleration": [headline.acceleration_sentence(gain) for gain in gains],
        "no_acceleration": headline.no_acceleration(summaries),
        "excluded": [(gain.device, gain.excluded) for gain in gains if gain.excluded],
        "counts": headline.counts_sentence(summaries),
        "answers": headline.answers(summaries, meta.baseline),
        "numbers": key_numbers(summaries, comparisons),
        "works": [(table, bars) for table, (bars, _) in zip(tables, drawn, strict=True)],
        "works_cut": _works_cut(len(tables)),
        "latency": [
            (timed, latencies)
            for table, (_, latencies) in zip(tables, drawn, strict=True)
            if (timed := sections.latency_table(table.label, table.members)) is not None
        ],
        **_scalings(summaries, series),
        "stages_of": _stages(summaries),
        "details": stages.detail_tables(summaries),
        "ways": audit.ways_tables(summaries),
        "parity": sections.parity(summaries),
        "precision_rows": audit.precision_rows(summaries),
        "coverage": audit.coverage_tables(summaries, meta.audits),
        "stages": [label for _, label in sections.START_UP],
        "start_up": sections.start_up(summaries),
        "problems": sections.problems(summaries),
        "max_log": MAX_LOG,
        "comparisons": [_comparison(one, summaries) for one in comparisons],
        "comparison_picture": pictures.verdicts(without_wrong(comparisons, summaries), meta.margin),
        "noise_labels": labels,
        "noise_rows": noise_rows,
        "machine": machines.machine_of(summaries),
        "timed": TIMED,
        "not_timed": NOT_TIMED,
        "commands": [(one.cell.label, command_for(one.cell)) for one in summaries],
        "skipped": meta.skipped_lines[:MAX_SKIPPED],
        "skipped_cut": max(0, len(meta.skipped_lines) - MAX_SKIPPED),
        "svg": Markup,
        "shown": shown.block(shown.report(summaries, comparisons, meta)),
        "count": count,
    }


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


def key_numbers(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """(number, what it counts) for the strip under the headline."""
    counts = outcome_counts(summaries)
    found = [(f"{number:,}", outcome_word(outcome)) for outcome, number in counts.items()]
    found.append((f"{sum(one.attempted for one in summaries):,}", "processes"))
    single = sum(1 for one in summaries if (rate := speed(one)) is not None and rate.low is None)
    if single:
        found.append((f"{single:,}", "without an interval"))
    if comparisons:
        found.append((f"{len(comparisons):,}", "comparisons"))
    return found


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


def _drawn(table: sections.WorkTable, series: dict[str, int]) -> tuple[Any, Any]:
    return pictures.speed_ups(table, series), pictures.latencies(table, series)


def _stages(summaries: Sequence[CellSummary]) -> list[tuple[Any, Any, list[tuple[int, str]]]]:
    """(table, picture or None beyond the cap, (colour, stage) of its legend) of each work that has stages."""
    tables = stages.stages_tables(summaries)
    drawn = [pictures.stages(table) if index < pictures.MAX_WORKS else None for index, table in enumerate(tables)]
    legends = [[(stages.colour(name, table.names), name) for name in table.names] for table in tables]
    return list(zip(tables, drawn, legends, strict=True))


def _scalings(summaries: Sequence[CellSummary], series: dict[str, int]) -> dict[str, Any]:
    """(scaling, its picture), the first few only: a page of curves is read by nobody."""
    found = scaling.scalings(summaries)
    kept = found[: pictures.MAX_WORKS]
    cut = "" if len(kept) == len(found) else f"The first {len(kept)} of {len(found)} scalings are shown."
    return {"scalings": [(one, pictures.scaled(one, series)) for one in kept], "scalings_cut": cut}


def _works_cut(total: int) -> str:
    if total <= pictures.MAX_WORKS:
        return ""
    return f"Figures are drawn for the first {pictures.MAX_WORKS} of {total} works; the tables hold all of them."
