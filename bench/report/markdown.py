"""The summary for a pull request: GitHub's Markdown, short, and safe with text from records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report import ReportMeta, headline, sections
from bench.report.facts import accelerations
from bench.report.page import unspeakable
from bench.summary import CellSummary

#: GitHub refuses comments above 65,536 characters.
MAX_CHARACTERS = 60_000
MAX_PROBLEMS, MAX_COMPARISONS = 30, 40
REASON_WIDTH = 160


def render(summaries: Sequence[CellSummary], comparisons: Sequence[Any], meta: ReportMeta) -> str:
    """Headline, a table per work, problems and comparisons; whole works are cut, and said so, when it grows too long."""
    head = [f"### {plain(meta.title)}", "", f"**{plain(headline.headline(summaries, meta.baseline))}**", ""]
    gains = [headline.acceleration_sentence(gain) for gain in accelerations(summaries)]
    told = gains or [headline.no_acceleration(summaries)]
    head += [plain(" ".join([*told, headline.counts_sentence(summaries)])), ""]
    tail = [*_comparisons(comparisons, summaries), *_problems(summaries)]
    if meta.skipped_lines:
        tail += [f"{headline.count(len(meta.skipped_lines), 'line')} of the store could not be read.", ""]
    tail += [f"Made by {code(meta.command)}, twinbench {plain(meta.twinbench_version)}."]
    tables = ["\n".join(_table(table)) for table in sections.grid(summaries, meta.baseline)]
    room = MAX_CHARACTERS - len("\n".join(head + tail)) - 200
    kept = 0
    while kept < len(tables) and room >= len(tables[kept]) + 1:
        room -= len(tables[kept]) + 1
        kept += 1
    cut = [] if kept == len(tables) else [f"The first {kept} of {len(tables)} works; the page has all.", ""]
    return "\n".join([*head, *tables[:kept], *cut, *tail]) + "\n"


def plain(text: str, width: int = 400) -> str:
    """One line in which nothing is markup, HTML or a mention."""
    line = sections.shorten(text, width).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_[]|#~":
        line = line.replace(char, "\\" + char)
    return line.replace("@", "@\u200b")


def code(text: str, width: int = REASON_WIDTH) -> str:
    """A code span on one line, which may stand in a table."""
    return f"`{sections.shorten(text, width).replace('`', chr(39)).replace('|', chr(92) + '|') or ' '}`"


def _table(table: sections.WorkTable) -> list[str]:
    lines = [f"**{plain(table.label)}** in {plain(table.unit)}; {plain(table.baseline)}", ""]
    lines.append("| environment/device mode | " + " | ".join(map(plain, table.precisions)) + " |")
    lines.append("|---|" + "---:|" * len(table.precisions))
    for row in table.rows:
        name = plain(f"{row.environment}/{row.device} {row.mode}")
        lines.append(f"| {name} | " + " | ".join(map(_square, row.squares)) + " |")
    return [*lines, ""]


def _square(square: sections.Square) -> str:
    if square.kind == "empty":
        return "–"
    if square.kind != "speed":
        return f"_{plain(square.value)}_"
    told = f"{square.value} {square.spread}"
    if square.ratio:
        told += f", {square.ratio}"
    return f"**{told}**" if square.mark == "fastest" else told


def _problems(summaries: Sequence[CellSummary]) -> list[str]:
    lines = []
    for word, members in sections.problems(summaries):
        lines += [f"<details><summary>{word}: {len(members)}</summary>", ""]
        shown = members[:MAX_PROBLEMS]
        lines += [f"- {plain(one.cell.label)}: {code(one.reason or 'no reason recorded')}" for one in shown]
        if len(members) > len(shown):
            lines.append(f"- the first {len(shown)} of {len(members)}")
        lines += ["", "</details>", ""]
    return lines


def _comparisons(comparisons: Sequence[Any], summaries: Sequence[CellSummary]) -> list[str]:
    hidden = unspeakable(summaries)
    if not comparisons:
        return []
    lines = ["| verdict on b | b / a | a | b |", "|---|---:|---|---|"]
    for one in comparisons[:MAX_COMPARISONS]:
        shown = not {one.cell_a.id, one.cell_b.id} & hidden
        word = one.verdict.word if shown else "not shown"
        ratio = sections.ratio_text(one.verdict.ratio) if shown else "one side is wrong or implausible"
        lines.append(f"| **{plain(word)}** | {ratio} | {plain(one.cell_a.label)} | {plain(one.cell_b.label)} |")
    if len(comparisons) > MAX_COMPARISONS:
        lines += ["", f"The first {MAX_COMPARISONS} of {len(comparisons)} comparisons."]
    return [*lines, ""]
