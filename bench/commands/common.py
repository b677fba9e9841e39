"""What commands share: the terminal, exit codes, and what is said after a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from bench import store
from bench.summary import CellSummary

#: A pipe or a log has no width of its own; 80 columns would fold every line of a table.
console = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=180)

NOTHING_MEASURED = 3
SOME_FAILED = 4
NOT_COMPARED = 5
FAILURES = frozenset({"wrong", "failed", "timed_out", "implausible"})


def folders_of(results: Path, runs: Sequence[str] | None) -> list[Path]:
    """The folders of the named runs, each once: a run that is named twice is not two runs."""
    found = [store.find(results, name) for name in runs or ["latest"]]
    return list({folder.resolve(): folder for folder in found}.values())


def written(path: Path | None, open_: bool) -> None:
    """Say where a page is, and show it; None: it went to the terminal."""
    if path is None:
        return
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    if open_:
        typer.launch(str(path.resolve()))


def show(summaries: list[CellSummary], problems: Sequence[str], baseline: str) -> None:
    """The table at the end of a run, and what could not be read."""
    from bench.report.terminal import stages_table, terminal_table

    console.print()
    console.print(terminal_table(summaries, baseline, console.width))
    if (stages := stages_table(summaries)) is not None:
        console.print(stages)
    warn(problems)


def warn(problems: Sequence[str]) -> None:
    """Lines of the store that could not be read."""
    for problem in problems:
        console.print(f"skipped {problem}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def exit_code(summaries: Sequence[CellSummary]) -> int:
    """What a run of these cells ends with."""
    outcomes = {summary.outcome for summary in summaries}
    if outcomes & FAILURES:
        return SOME_FAILED
    return 0 if "measured" in outcomes else NOTHING_MEASURED
