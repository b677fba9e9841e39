"""The commands that write pages and files, and read those of other tools: report, export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import exports, options, store
from bench.commands.common import (
    NOT_COMPARED,
    NOTHING_MEASURED,
    console,
    folders_of,
    warn,
    written,
)
from bench.compare import BETWEEN_SESSION_SD, MARGIN
from bench.options import (
    RESULTS,
    Baseline,
    Margin,
    Results,
    Words,
    several,
)


def report(
    runs: Annotated[Words | None, typer.Argument(help="runs (name, folder, latest); default: latest")] = None,
    out: Annotated[Path | None, typer.Option(help="file to write; default: reports/<run>.html")] = None,
    format_: Annotated[str, typer.Option("--format", help="html, markdown (for a pull request) or csv")] = "html",
    title: Annotated[str, typer.Option(help="heading of the page")] = "",
    baseline: Baseline = "",
    margin: Margin = None,
    results: Results = RESULTS,
    open_: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="two runs side by side; one named twice: its duets")
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="all runs in one page; default: reports/index.html")] = False,
    recheck: Annotated[
        bool,
        typer.Option(
            "--recheck",
            help="write nothing: recompute the page's figures; exit 1 where one differs, 5 where its text could not be "
            "compared",
        ),
    ] = False,
    session_sd: Annotated[float, typer.Option(help="of --compare: as in twinbench compare")] = BETWEEN_SESSION_SD,
    across: Annotated[Words, several("of --compare: facts that may differ, such as chip or threads")] = [],  # noqa: B006
    figures: Annotated[
        bool, typer.Option("--figures", help="also write every figure as SVG and PNG, beside the page")
    ] = False,
) -> None:
    """Write a page (or Markdown, or CSV) on one or more runs, on two against each other, or on all."""
    from bench import publishing, reporting

    options.finite("margin", MARGIN if margin is None else margin)
    options.finite("session-sd", session_sd)
    asked = publishing.Asked(
        results, tuple(runs or ()), compare, index, format_, out, title, margin, session_sd, options.split(across)
    )
    asked.refuse_clashes(open_ or recheck)
    if recheck:
        from bench import rechecking

        checked = rechecking.check(asked.page, results)
        console.print(rechecking.read_out(checked, asked.page), highlight=False, markup=False, soft_wrap=True)
        if checked.not_compared:
            raise typer.Exit(NOT_COMPARED)
        return
    if compare is not None or index:
        path, problems = publishing.publish(asked)
        warn(problems)
        written(path, open_)
        return
    folders = folders_of(results, runs)
    material = reporting.gather(folders, baseline, margin, title)
    warn(material.meta.skipped_lines)
    if format_ == "markdown":
        reporting.write_markdown(material, out)
        return
    if format_ == "csv":
        publishing.write_csv(material.summaries, baseline, out)
        return
    path = out or Path("reports") / f"{folders[-1].resolve().name}.html"
    path = reporting.write_html(material, path, figures)
    written(path, open_)


def export(
    out: Annotated[Path, typer.Argument(help="file to write; for asv a folder")],
    runs: Annotated[Words | None, typer.Argument(help="runs (name, folder, latest); default: latest")] = None,
    format_: Annotated[str, typer.Option("--format", help=", ".join(exports.FORMATS))] = "pytest-benchmark",
    results: Results = RESULTS,
) -> None:
    """Write runs for other tools; cells without a right answer have no figure there."""
    folders = folders_of(results, runs)
    problems: list[str] = []
    count = exports.write(store.read_all(folders, problems), format_, out)
    warn(problems)
    if not count:
        console.print(f"nothing in {', '.join(map(str, folders))} has a figure for {out}", soft_wrap=True)
        raise typer.Exit(NOTHING_MEASURED)
    console.print(f"{count} benchmarks: {out}", highlight=False, soft_wrap=True)


def import_(
    file: Annotated[Path, typer.Argument(help="JSON of pyperf (also .gz) or of pytest-benchmark")],
    results: Results = RESULTS,
) -> None:
    """Take what another tool measured into a run of its own, for report and compare; it is labelled not verified."""
    from bench import foreign

    made = foreign.import_file(file, results)
    warn(made.problems)
    console.print(f"{made.benchmarks} benchmarks of {made.tool}, not verified: {made.folder}", soft_wrap=True)
