"""Summaries in, something to read out: an HTML page, Markdown for a pull request, a table for the terminal.

Import rule: this module and ``terminal`` stay light; matplotlib and Jinja2 load when a page is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.audits import Coverage
from bench.cell import Cell
from bench.report.evidence import Evidence
from bench.summary import CellSummary

if TYPE_CHECKING:
    from bench.trends import Trend
    from bench.verdict import Comparison


@dataclass(frozen=True)
class ReportMeta:
    """What the summaries do not say. Times are ISO 8601 text; ``baseline`` is a pattern, "" for the default one.

    ``margin`` and ``looks`` are those that the comparisons were made with; ``audits`` are the runs' coverage passes;
    ``evidence`` is what is told of single processes, and their raw records.
    """

    title: str
    runs: tuple[str, ...]
    started_at: str | None
    finished_at: str | None
    command: str
    twinbench_version: str
    skipped_lines: tuple[str, ...] = ()
    baseline: str = ""
    margin: float = 0.03
    looks: tuple[int, ...] = (8, 16, 32)
    audits: tuple[Coverage, ...] = ()
    #: The series of the nightly runs that the reported one belongs to.
    trends: tuple[Trend, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    #: Cell -> the options of the run that it is of, as words of ``twinbench run``: see ``reproduce``.
    options: Mapping[Cell, tuple[str, ...]] = field(default_factory=dict)


def write_report(
    summaries: Sequence[CellSummary],
    comparisons: Sequence[Comparison],
    meta: ReportMeta,
    path: Path,
    figures: Path | None = None,
) -> Path:
    """Write the self-contained page to ``path`` (folders are made) and return it.

    ``figures``: a folder that gets every figure of the page as SVG and PNG, for papers and slides.

    Raises:
        ImportError: the extra ``report`` (Jinja2, matplotlib) is not installed.
    """
    from bench.report.page import make

    made = make(summaries, comparisons, meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.html, encoding="utf-8")
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for picture in made.pictures:
            picture.save(figures)
    return path


def as_markdown(summaries: Sequence[CellSummary], comparisons: Sequence[Comparison], meta: ReportMeta) -> str:
    """A summary that fits a pull request's comment."""
    from bench.report.markdown import render

    return render(summaries, comparisons, meta)
