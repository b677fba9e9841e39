"""What ``twinbench report`` writes beside the report of some runs: the comparison of two, and the index of all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import index, store
from bench.compare import Rule, compare_runs
from bench.errors import UsageError
from bench.plan import check_words
from bench.reporting import rule_of
from bench.summary import CellSummary, summarise
from bench.verdict import comparable_facts, mean_of

if TYPE_CHECKING:
    from bench.report.compare_page import Compared

REPORTS = Path("reports")
FORMATS = ("html", "markdown", "csv")
INDEX = "index.html"
#: Of ``A..B.html``, a comparison of two runs.
BETWEEN = ".."


@dataclass(frozen=True)
class Asked:
    """The words of one ``twinbench report``: some runs, or ``compare`` (A, B), or ``index``."""

    results: Path
    runs: tuple[str, ...]
    compare: tuple[str, str] | None
    index: bool
    format: str
    out: Path | None
    title: str
    margin: float | None
    session_sd: float
    across: tuple[str, ...]

    @property
    def page(self) -> Path:
        """Where the page is, or goes.

        Raises:
            UsageError: no such run.
        """
        if self.out is not None:
            return self.out
        if self.index:
            return REPORTS / INDEX
        names = [store.find(self.results, name).resolve().name for name in self.compare or self.runs or ("latest",)]
        return REPORTS / f"{BETWEEN.join(names) if self.compare else names[-1]}.html"

    def refuse_clashes(self, needs_page: bool) -> None:
        """Refuse words that do not go together; ``needs_page``: it is to be opened or checked.

        Raises:
            UsageError: names them.
        """
        check_words("format", [self.format], FORMATS)
        given = [
            word for word, there in (("RUN", self.runs), ("--compare", self.compare), ("--index", self.index)) if there
        ]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} do not go together: a page is of some runs, of two, or of all")
        if self.format != "html" and (self.index or needs_page):
            what = "--index" if self.index else "--open and --recheck"
            raise UsageError(f"--format {self.format} does not go with {what}: that is a page")
        if self.across and self.compare is None:
            raise UsageError("--across goes with --compare")


def publish(asked: Asked) -> tuple[Path | None, Sequence[str]]:
    """Write a comparison or the index; returns the file (None: it was printed) and the lines that could not be read.

    Raises:
        UsageError: a run is missing or cannot be used, the extra ``report`` is missing, or a file cannot be written.
    """
    try:
        if asked.compare is None:
            return write_index(asked.results, asked.page, asked.title), ()
        check_words("fact", asked.across, comparable_facts())
        found = compared(
            asked.results, *asked.compare, asked.margin, asked.session_sd, frozenset(asked.across), asked.title
        )
        return write_comparison(found, asked), found.problems
    except ModuleNotFoundError as error:
        raise UsageError(f"a report needs {error.name}: pip install 'twinbench[report]'") from error


def compared(
    results: Path, a: str, b: str, margin: float | None, session_sd: float, across: AbstractSet[str], title: str
) -> Compared:
    """Two stored runs, or (the same name twice) the duets of one live comparison, judged as they were live.

    Raises:
        UsageError: no such run, or one run that holds no duets.
    """
    from bench.report.compare_page import Compared

    folders = [store.find(results, name) for name in (a, b)]
    problems: list[str] = []
    rows_a = summarise(store.read(folders[0], problems))
    if folders[0].resolve() == folders[1].resolve():
        rule = rule_of(folders[:1], margin, problems)
        rows_b, comparisons = rows_a, rule.verdicts(store.read(folders[0], []))
        if not comparisons:
            raise UsageError(f"A and B are both {folders[0]}, and it holds no duets: name two runs")
        mean = mean_of(comparisons)
    else:
        rule = Rule() if margin is None else Rule(margin)
        rows_b = summarise(store.read(folders[1], problems))
        found = compare_runs(rows_a, rows_b, rule.margin, session_sd, across)
        comparisons, mean = list(found.comparisons), found.mean
    for folder, rows in zip(folders, (rows_a, rows_b), strict=True):
        if not rows:
            raise UsageError(f"no records in {folder}")
    name_a, name_b = (folder.resolve().name for folder in folders)
    return Compared(
        name_a,
        name_b,
        rows_a,
        rows_b,
        comparisons,
        mean,
        rule.margin,
        session_sd,
        tuple(sorted(across)),
        tuple(problems),
        title,
        rule.looks,
    )


def compare_html(found: Compared) -> str:
    """The compare page."""
    from bench.report import compare_page

    return compare_page.render(found)


def index_html(results: Path, title: str, pages: Sequence[str], remember: bool = True) -> str:
    """The index page over ``results``; ``pages`` are the files beside it."""
    from bench.report import index_page

    return index_page.render(index.entries(results, remember), pages, title or "twinbench: all runs")


def write_index(results: Path, path: Path, title: str) -> Path:
    """The index page at ``path``, with links to the pages in its folder."""
    from bench.report.index_page import pages_beside

    return write(index_html(results, title, pages_beside(path)), path)


def write_comparison(found: Compared, asked: Asked) -> Path | None:
    """The comparison in its format; without a file to write, a page goes to ``reports/``, others to the terminal."""
    if asked.format == "markdown":
        from bench.report import compare_markdown

        return write_or_print(compare_markdown.render(found), asked.out)
    if asked.format == "csv":
        from bench.report import csv_table

        return write_or_print(csv_table.compared(found), asked.out)
    return write(compare_html(found), asked.page)


def write_csv(summaries: Sequence[CellSummary], baseline: str, out: Path | None) -> Path | None:
    """One row per cell, to ``out`` or to standard output."""
    from bench.report import csv_table

    return write_or_print(csv_table.report(summaries, baseline), out)


def write_or_print(text: str, path: Path | None) -> Path | None:
    """``text`` to ``path``, or to standard output."""
    if path is not None:
        return write(text, path)
    sys.stdout.write(text)
    return None


def write(text: str, path: Path) -> Path:
    """``text`` at ``path``; folders are made.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path
