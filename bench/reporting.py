"""``twinbench report``: run folders in, one page out. Reads every record once, and holds summaries only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench import __version__, audits, store
from bench.cell import Cell
from bench.compare import Rule
from bench.errors import UsageError
from bench.points import POINTS
from bench.points import read as read_points
from bench.record import Fingerprint, Measured, Record
from bench.report import ReportMeta, as_markdown, write_report
from bench.report.evidence import Gatherer
from bench.report.reproduce import options
from bench.summary import CellSummary, summarise
from bench.trends import Trend, trends
from bench.verdict import Comparison, refusal


@dataclass(frozen=True)
class Material:
    """What a report is made of."""

    summaries: Sequence[CellSummary]
    comparisons: Sequence[Comparison]
    meta: ReportMeta


class _Passing:
    """Looks at records on their way: first and last time, whether any two shared a block, what pages show of each."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.last: str | None = None
        self.duets = False
        self.gatherer = Gatherer()
        #: Cell -> the first run that has it.
        self.run_of: dict[Cell, str] = {}
        self._blocks: set[tuple[str, str]] = set()
        self._seen: dict[Cell, tuple[str, Fingerprint]] = {}

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records."""
        for record in records:
            self.first = min(self.first or record.started_at, record.started_at)
            self.last = max(self.last or record.started_at, record.started_at)
            self._same_surroundings(record)
            self.run_of.setdefault(record.cell, record.run)
            block = (record.run, record.block)
            self.duets |= block in self._blocks
            self._blocks.add(block)
            self.gatherer.add(record)
            yield record

    def _same_surroundings(self, record: Record) -> None:
        """The same cell in several runs is one cell only where its surroundings were the same."""
        if not isinstance(record.outcome, Measured):
            return
        run, fingerprint = self._seen.setdefault(record.cell, (record.run, record.fingerprint))
        if run == record.run:
            return
        found = _differences(fingerprint, record.fingerprint)
        if found:
            raise UsageError(
                f"runs {run} and {record.run} both have {record.cell.label}, but not under the same conditions: "
                f"{'; '.join(found)}; report them apart, or compare them: twinbench compare {run} {record.run}"
            )


def _differences(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Facts and versions of two runs that forbid one mean over both."""
    names = sorted({*a.versions, *b.versions} - {"twinbench"})
    versions = [
        f"{name} differs: {a.versions.get(name)} against {b.versions.get(name)}"
        for name in names
        if a.versions.get(name) != b.versions.get(name)
    ]
    return versions + refusal(a, b)


def rule_of(folders: Sequence[Path], margin: float | None, problems: list[str]) -> Rule:
    """How the duets of these runs are judged: as they were live, where all of them say the same, else by the defaults.

    ``margin`` replaces the one of the rule; ``problems`` collects rules that cannot be read.
    """
    told: list[Rule | None] = []
    for folder in folders:
        try:
            told.append(msgspec.convert(store.run_facts(folder).get("rule"), Rule | None))
        except UsageError:  # no run.json, or a damaged one: that is said where its command is asked for
            told.append(None)
        except msgspec.ValidationError as error:
            problems.append(f"{folder / store.RUN}: rule of its comparisons: {error}")
            told.append(None)
    same = told[0] if told and all(one == told[0] for one in told) else None
    rule = same or Rule()
    return rule if margin is None else replace(rule, margin=margin)


def gather(folders: Sequence[Path], baseline: str, margin: float | None, title: str) -> Material:
    """Summaries, comparisons and facts of the runs; ``margin`` None: that of the run's comparison.

    Raises:
        UsageError: the folders hold no record at all, or the same cell of runs that differ in machine or versions.
    """
    problems: list[str] = []
    passing = _Passing()
    summaries = summarise(passing.watch(store.read_all(folders, problems)))
    if not summaries:
        raise UsageError(f"no records in {', '.join(map(str, folders))}")
    rule = rule_of(folders, margin, problems)
    comparisons = rule.verdicts(store.read_all(folders, [])) if passing.duets else []
    audited = tuple(audits.read(folders, problems))
    series = _trends(folders, problems)
    evidence = passing.gatherer.evidence(folders, problems)
    names = tuple(folder.resolve().name for folder in folders)
    meta = ReportMeta(
        title=title or _title(names),
        runs=names,
        started_at=passing.first,
        finished_at=passing.last,
        command="; ".join(_commands(folders)),
        twinbench_version=__version__,
        skipped_lines=tuple(problems),
        baseline=baseline,
        margin=rule.margin,
        looks=rule.looks,
        audits=audited,
        trends=series,
        evidence=evidence,
        options=_options(folders, passing.run_of),
    )
    return Material(summaries, comparisons, meta)


def _title(runs: Sequence[str]) -> str:
    """The heading of a page that was given none."""
    if len(runs) <= 2:
        return f"twinbench: {', '.join(runs)}"
    return f"twinbench: {len(runs)} runs, {min(runs)} to {max(runs)}"


def _options(folders: Sequence[Path], run_of: Mapping[Cell, str]) -> dict[Cell, tuple[str, ...]]:
    """The options that each cell's run was made with, where its run.json says."""
    setups: dict[str, Any] = {}
    for folder in folders:
        try:
            setups[folder.resolve().name] = store.run_facts(folder).get("setup")
        except UsageError:
            continue
    return {cell: options(setups.get(run), cell.environment) for cell, run in run_of.items()}


def _trends(folders: Sequence[Path], problems: list[str]) -> tuple[Trend, ...]:
    """The series that the nightly ones of these runs belong to, with the nights beside them, none later than these."""
    nights = [folder for folder in folders if (folder / POINTS).exists()]
    here = [point for folder in nights for point in read_points(folder, [])]
    if not here:
        return ()
    until = max(point.started_at for point in here)
    runs: dict[Cell, set[str]] = {}
    for point in here:
        runs.setdefault(point.cell, set()).add(point.run)
    parents = dict.fromkeys(folder.resolve().parent for folder in nights)
    found = [one for parent in parents for one in trends(parent, problems, until)]
    return tuple(
        one
        for one in found
        if (wanted := runs.get(one.series.cell)) and any(point.run in wanted for point in one.series.points)
    )


def write_html(material: Material, path: Path, figures: bool = False) -> Path:
    """The page, at ``path``; ``figures``: also each of them as SVG and PNG, in a folder beside it (``<name>.figures``).

    Raises:
        UsageError: the extra ``report`` is missing, or the file cannot be written.
    """
    try:
        folder = path.with_suffix(".figures") if figures else None
        return write_report(material.summaries, material.comparisons, material.meta, path, folder)
    except ModuleNotFoundError as error:
        raise UsageError(f"a report needs {error.name}: pip install 'twinbench[report]'") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def write_markdown(material: Material, path: Path | None) -> None:
    """The summary, to ``path`` or to standard output."""
    text = as_markdown(material.summaries, material.comparisons, material.meta)
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _commands(folders: Sequence[Path]) -> list[str]:
    """The command of each run, where its run.json is there and says so."""
    found = []
    for folder in folders:
        try:
            found.append(str(store.run_facts(folder)["command"]))
        except (UsageError, KeyError):
            continue
    return found
