"""The table that ``twinbench run`` leaves in the terminal. Imports neither pandas nor matplotlib.

Text from records goes in as ``rich.text.Text``: brackets in a reason are never markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.report import numbers
from bench.report.facts import against, by_work, find_baselines, latency, outcome_word, speed, where, work_label
from bench.report.stages import rates_text, stages_tables
from bench.summary import CellSummary

STYLES = {"measured": "green", "wrong": "bold red", "implausible": "magenta", "unsupported": "dim"}
REASON_WIDTH = 160


#: From this width on a cell has one line; on a narrower terminal its figures stand below each other.
WIDE = 150
FIGURES = ("throughput", "p50 / p90 / p99", "vs baseline", "error (limit)", "peak memory")


def terminal_table(summaries: Sequence[CellSummary], baseline: str = "", width: int = WIDE) -> Table:
    """One row per cell, a section per work; ``baseline`` is a pattern as in ``facts.find_baselines``."""
    table = Table(title="Throughput and latency per cell", title_justify="left", expand=False)
    table.add_column("cell", overflow="fold")
    if width >= WIDE:
        for heading in FIGURES:
            table.add_column(heading, justify="right", no_wrap=True)
    else:
        table.add_column("figures", overflow="fold")
    table.add_column("outcome", overflow="fold")
    baselines = find_baselines(summaries, baseline)
    works = by_work(summaries)
    for work, members in works.items():
        table.add_section()
        table.add_row(Text(work_label(work), style="bold"), *[""] * (len(table.columns) - 1))
        for summary in members:
            row = _row(summary, baselines.get(work))
            table.add_row(*(row if width >= WIDE else _stacked(row)))
    table.caption = _caption(summaries, len(works) - len(baselines), baseline)
    table.caption_justify = "left"
    return table


def stages_table(summaries: Sequence[CellSummary]) -> Table | None:
    """Where the time goes, a line per cell; None where no cell has stages."""
    works = stages_tables(summaries)
    if not works:
        return None
    table = Table(title="Where the time goes: stages of one iteration", title_justify="left", expand=False)
    table.add_column("cell", overflow="fold")
    table.add_column("stages, each with a fence", overflow="fold")
    table.add_column("sum", justify="right", no_wrap=True)
    for work in works:
        table.add_section()
        table.add_row(Text(work.label, style="bold"), "", "")
        for row in work.rows:
            told = (f"{name} {time}" for name, time in zip(work.names, row.times, strict=True) if time != "–")
            table.add_row(Text(f"  {row.cell}"), Text(", ".join(told)), Text(row.total))
    return table


def _stacked(row: list[Text]) -> list[Text]:
    """The same row with its figures below each other; those that are not there are left out."""
    where_it_ran, *figures, outcome = row
    lines = [
        Text(f"{name}: ", style="dim") + figure
        for name, figure in zip(FIGURES, figures, strict=True)
        if figure.plain != "–"
    ]
    return [where_it_ran, Text("\n").join(lines), outcome]


def _row(summary: CellSummary, baseline: CellSummary | None) -> list[Text]:
    rate = speed(summary)
    style = STYLES.get(summary.outcome, "yellow")
    reason = " ".join(summary.reason.split())
    if len(reason) > REASON_WIDTH:
        reason = reason[: REASON_WIDTH - 1] + "…"
    outcome = Text(outcome_word(summary.outcome), style=style)
    if reason and summary.outcome != "measured":
        outcome.append(f": {reason}", style="default")
    speeds = "–" if rate is None else f"{numbers.rate(rate)} {summary.item}/s {numbers.spread(rate)}"
    return [
        Text(f"  {where(summary.cell)}"),
        Text("\n".join(filter(None, (speeds, rates_text(summary))))),
        Text(_latency(summary)),
        Text(_against(summary, baseline)),
        Text(_error(summary)),
        Text("–" if summary.peak_rss_bytes is None else numbers.memory(summary.peak_rss_bytes)),
        outcome,
    ]


def _latency(summary: CellSummary) -> str:
    found = latency(summary)
    return "–" if found is None else numbers.latencies(found, summary.latency_samples)


def _against(summary: CellSummary, baseline: CellSummary | None) -> str:
    if baseline is not None and summary.cell == baseline.cell:
        return "baseline"
    found = against(summary, baseline)
    if found is None:
        return "–"
    within = numbers.times_span(found)
    return f"{numbers.times(found)} ({within})" if within else numbers.times(found)


def _error(summary: CellSummary) -> str:
    if summary.limit is None:
        return "–"
    return f"{numbers.error(summary.error)} ({numbers.error(summary.limit)})"


def _caption(summaries: Sequence[CellSummary], works_without: int, pattern: str) -> Text:
    lines = []
    if any(rate.low is None for summary in summaries if (rate := speed(summary)) is not None):
        lines.append("no interval: one process only, so nothing is known of the spread between processes")
    if pattern and works_without:
        lines.append(f"no measured cell fits the baseline {pattern!r} in {works_without} works: no ratios there")
    return Text("\n".join(lines), style="dim")
