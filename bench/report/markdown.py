"""The summary for a pull request: GitHub's Markdown, short, and safe with text from records. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.labels import STABLE
from bench.report import ReportMeta, audit, headline, machines, scaling, sections, stages
from bench.report.facts import accelerations, count, unspeakable
from bench.report.folding import MAX_CHARACTERS, MAX_OPEN, fitted_parts
from bench.summary import CellSummary

if TYPE_CHECKING:
    from bench.verdict import Comparison

#: Characters for everything but the tables of works.
MAX_TAIL = 40_000
#: So many works have their table open, the others behind their name.
OPEN_WORKS = 4
#: How the fastest begins in a table.
BOLD = "| **"
MAX_PROBLEMS, MAX_CELLS, MAX_COMPARISONS, MAX_WAYS = 30, 6, 40, 8
REASON_WIDTH = 160


def render(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> str:
    """Headline, a table per work, comparisons, problems; where it grows too long, works are cut and that is said."""
    head = [f"### {plain(meta.title)}", "", f"**{plain(headline.headline(summaries, meta.baseline))}**", ""]
    gains = [headline.acceleration_sentence(gain) for gain in accelerations(summaries)]
    told = gains or [headline.no_acceleration(summaries)]
    head += [plain(" ".join([*told, headline.counts_sentence(summaries)])), ""]
    # What is wrong comes first where there is no room for all of it.
    extras = [*_scaling(summaries), *_ways(summaries), *_fallen(summaries, meta)]
    *told_problems, compared, extras = fitted_parts(
        [*_problems(summaries), _comparisons(comparisons, summaries), extras], MAX_TAIL
    )
    tail = [*extras, *compared, *(line for part in told_problems for line in part)]
    if meta.skipped_lines:
        tail += [f"{count(len(meta.skipped_lines), 'line')} of the store could not be read.", ""]
    tail += [*_surroundings(summaries), ""]
    tail += [f"Made by {code(meta.command)}, twinbench {plain(meta.twinbench_version)}."]
    split = {table.label: table for table in stages.stages_tables(summaries)}
    tables = [
        "\n".join(_work(number, table, split.get(table.label)))
        for number, table in enumerate(sections.grid(summaries, meta.baseline))
    ]
    room = MAX_CHARACTERS - len("\n".join(head + tail)) - 200
    kept = 0
    while kept < len(tables) and room >= len(tables[kept]) + 1:
        room -= len(tables[kept]) + 1
        kept += 1
    cut = [] if kept == len(tables) else [f"The first {kept} of {len(tables)} works; the page has all.", ""]
    if any(BOLD in table for table in tables[:kept]):
        cut = ["Bold: the fastest of its precision, its interval above all others.", "", *cut]
    return "\n".join([*head, *tables[:kept], *cut, *tail]) + "\n"


def _work(number: int, table: sections.WorkTable, split: stages.StagesTable | None) -> list[str]:
    lines = [*_table(table), *_stages(split)]
    if number < OPEN_WORKS and len(table.rows) <= MAX_OPEN:
        return lines
    label = f"{plain(table.label)}: {count(len(table.members), 'cell')}"
    return [f"<details><summary>{label}</summary>", "", *lines, "</details>", ""]


def plain(text: str, width: int = 400) -> str:
    """One line in which nothing is markup, HTML or a mention."""
    line = sections.shorten(text, width).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_[]|#~":
        line = line.replace(char, "\\" + char)
    return line.replace("@", "@\u200b")


def code(text: str, width: int = REASON_WIDTH) -> str:
    """A code span on one line, which may stand in a table."""
    return f"`{sections.shorten(text, width).replace('`', chr(39)).replace('|', chr(92) + '|') or ' '}`"


def _scaling(summaries: Sequence[CellSummary]) -> list[str]:
    """Where accelerators overtake CPUs, and where series ended."""
    lines = []
    for one in scaling.scalings(summaries):
        lines += [f"- {plain(one.label)}: {plain(found.text)}" for found in one.crossovers]
        lines += [f"- {plain(one.label)}: {plain(c.label)} ended: {plain(c.end)}" for c in one.curves if c.end]
    kept = lines[:MAX_PROBLEMS]
    cut = [f"- and {len(lines) - len(kept)} more lines; the page has all."] if len(lines) > len(kept) else []
    return ["**Scaling**", "", *kept, *cut, ""] if kept else []


def _table(table: sections.WorkTable) -> list[str]:
    lines = [f"**{plain(table.label)}** in {plain(table.unit)}; {plain(table.baseline)}", ""]
    lines.append("| environment/device mode | " + " | ".join(map(plain, table.precisions)) + " |")
    lines.append("|---|" + "---:|" * len(table.precisions))
    for row in table.rows:
        name = plain(f"{row.environment}/{row.device} {row.mode}")
        lines.append(f"| {name} | " + " | ".join(map(_square, row.squares)) + " |")
    return [*lines, ""]


def _stages(table: stages.StagesTable | None) -> list[str]:
    if table is None:
        return []
    lines = ["<details><summary>Where the time goes</summary>", ""]
    lines.append("| cell | " + " | ".join(map(plain, table.names)) + " | sum |")
    lines.append("|---|" + "---:|" * (len(table.names) + 1))
    lines += [f"| {plain(row.cell)} | {' | '.join(row.times)} | {row.total} |" for row in table.rows]
    return [*lines, "", "</details>", ""]


def _ways(summaries: Sequence[CellSummary]) -> list[str]:
    """The same work in several ways, side by side."""
    lines: list[str] = []
    for table in audit.ways_tables(summaries)[:MAX_WAYS]:
        lines += [f"**{plain(table.label)}**, ways to compute it, in {plain(table.unit)}", ""]
        lines.append("| environment/device precision mode | " + " | ".join(map(plain, table.names)) + " | building |")
        lines.append("|---|" + "---:|" * (len(table.names) + 1))
        for row in table.rows:
            ways = " | ".join(plain(way, REASON_WIDTH) for way in row.ways)
            lines.append(f"| {plain(row.where)} | {ways} | {plain(row.build)} |")
        lines.append("")
    return lines


def _fallen(summaries: Sequence[CellSummary], meta: ReportMeta) -> list[str]:
    """A line for each work that was audited; nothing where no pass was run."""
    if not meta.audits:
        return []
    told = [table for table in audit.coverage_tables(summaries, meta.audits) if table.summary != "not measured"]
    return ["Operators that fell back:", "", *(f"- {plain(one.label)}: {plain(one.summary)}" for one in told), ""]


def _square(square: sections.Square) -> str:
    if square.kind == "empty":
        return "–"
    if square.kind != "speed":
        return f"_{plain(square.value)}_"
    told = f"{square.value} {square.spread}"
    if square.ratio:
        told += f", {square.ratio}"
    return f"**{told}**" if square.mark == "fastest" else told


def _surroundings(summaries: Sequence[CellSummary]) -> list[str]:
    """A line each: the machine, the versions, how quiet it was. The page has the rest."""
    known = [one.fingerprint for one in summaries if one.fingerprint is not None]
    names = ("chip", "memory", "os version")
    facts = dict.fromkeys(
        "; ".join(text for name in names if (text := machines.facts(one.machine).get(name)) is not None)
        for one in known
    )
    devices = dict.fromkeys(one.device_name for one in known if one.device_name)
    told = "; ".join([*facts, *devices]) or "not recorded"
    versions = "; ".join(f"{one.name}: {one.versions}" for one in machines.machine_of(summaries).environments)
    counts: Counter[str] = Counter()
    for one in summaries:
        counts.update(one.labels)
    attempted = sum(one.attempted for one in summaries)
    quiet = counts.pop(STABLE, 0)
    noise = "; ".join(
        [f"{quiet:,} of {attempted:,} processes stable", *(f"{n:,} {label}" for label, n in counts.items())]
    )
    return [
        f"- Machine: {plain(told)}",
        f"- Versions: {plain(versions or 'not recorded')}",
        f"- Noise: {plain(noise)}",
    ]


def _problems(summaries: Sequence[CellSummary]) -> list[list[str]]:
    """A folded list for each outcome, wrong ones first."""
    parts = []
    for word, members in sections.problems(summaries):
        lines = [f"<details><summary>{plain(word)}: {sum(len(one.cells) for one in members)}</summary>", ""]
        lines += [f"- {_cells(one.cells)}: {code(one.reason)}" for one in members[:MAX_PROBLEMS]]
        if len(members) > MAX_PROBLEMS:
            lines.append(f"- the first {MAX_PROBLEMS} of {len(members)} reasons")
        parts.append([*lines, "", "</details>", ""])
    return parts


def _cells(cells: Sequence[Cell]) -> str:
    shown = ", ".join(plain(cell.label) for cell in cells[:MAX_CELLS])
    return shown if len(cells) <= MAX_CELLS else f"{shown} and {len(cells) - MAX_CELLS} more"


def _comparisons(comparisons: Sequence[Comparison], summaries: Sequence[CellSummary]) -> list[str]:
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
