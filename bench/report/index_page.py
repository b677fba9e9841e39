"""The index page: all runs, newest first, with links to the pages that lie beside it. Its folder is a static site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench import __version__
from bench.index import Entry
from bench.publishing import BETWEEN
from bench.report import shown
from bench.report.facts import OUTCOMES, count, outcome_word
from bench.report.rendering import rendered
from bench.report.sections import shorten

#: Outcomes that mean that something is not right, in red.
BAD = frozenset({"wrong", "implausible", "failed", "timed_out"})
MAX_COMMAND = 300


@dataclass(frozen=True)
class Row:
    """One run as text; ``links`` are (address relative to the page, words)."""

    name: str
    when: str
    lasted: str
    machine: str
    system: str
    works: str
    places: str
    versions: str
    outcomes: tuple[tuple[str, bool], ...]
    processes: str
    notes: tuple[str, ...]
    command: str
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Month:
    """Runs that began in one month, newest first."""

    label: str
    rows: tuple[Row, ...]


def render(entries: Sequence[Entry], pages: Sequence[str], title: str) -> str:
    """The page; ``pages`` are the names of the HTML files beside it."""
    links = links_of(pages)
    months: dict[str, list[Row]] = {}
    for entry in entries:
        months.setdefault(_month(entry), []).append(_row(entry, links))
    return rendered(
        "index.html.j2",
        version=__version__,
        title=title,
        headline=headline(entries),
        totals=_totals(entries),
        months=[Month(label, tuple(rows)) for label, rows in months.items()],
        count=count,
        figures=shown.block(figures(entries, pages, title)),
    )


def figures(entries: Sequence[Entry], pages: Sequence[str], title: str) -> dict[str, Any]:
    """What the page shows, as data."""
    return {
        "kind": "index",
        "twinbench": __version__,
        "title": title,
        "pages": sorted(pages),
        "runs": {
            one.name: {f"cells_{outcome}": number for outcome, number in one.cells.items()}
            | {"processes": one.records, "noisy": one.noisy, "skipped": one.skipped}
            for one in entries
        },
    }


def pages_beside(path: Path) -> list[str]:
    """The names of the HTML files in the folder of the page, but for the page itself."""
    return sorted(one.name for one in path.parent.glob("*.html") if one.name != path.name)


def links_of(pages: Sequence[str]) -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Run -> its links: its report, and the comparisons that it is a side of."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in pages:
        stem = name.removesuffix(".html")
        a, between, b = stem.partition(BETWEEN)
        if not between:
            found.setdefault(stem, []).insert(0, (quote(name), "report"))
            continue
        found.setdefault(a, []).append((quote(name), f"against {b}"))
        found.setdefault(b, []).append((quote(name), f"against {a}"))
    return {run: tuple(links) for run, links in found.items()}


def headline(entries: Sequence[Entry]) -> str:
    """How many runs and whether all is well, in a sentence."""
    if not entries:
        return "No runs yet; make one with: twinbench run"
    bad = sum(1 for one in entries if BAD & one.cells.keys())
    told = f"{count(len(entries), 'run')}, the newest of {_when(entries[0])}"
    return f"{told}; {'none' if not bad else f'{bad:,}'} with cells that are wrong, implausible, failed or timed out."


def _totals(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    machines = {one.machine for one in entries if one.records}
    processes = sum(one.records for one in entries)
    newest = entries[0].cells if entries else {}
    return [
        (f"{len(entries):,}", "runs"),
        (f"{processes:,}", "processes"),
        (f"{len(machines):,}", "machines"),
        (f"{sum(newest.values()):,}", "cells in the newest"),
    ]


def _row(entry: Entry, links: Mapping[str, tuple[tuple[str, str], ...]]) -> Row:
    order = [*OUTCOMES, *sorted(entry.cells.keys() - OUTCOMES.keys())]
    told = [(f"{entry.cells[one]:,} {outcome_word(one)}", one in BAD) for one in order if one in entry.cells]
    notes = [entry.problem] if entry.problem else []
    if entry.skipped:
        notes.append(f"{count(entry.skipped, 'line')} could not be read")
    if entry.noisy:
        notes.append(f"{entry.noisy:,} of {entry.records:,} processes on a machine that was not quiet")
    return Row(
        name=entry.name,
        when=_when(entry),
        lasted=_lasted(entry),
        machine=entry.machine,
        system=entry.system,
        works=", ".join(entry.works),
        places=", ".join(entry.places),
        versions=", ".join(entry.versions),
        outcomes=tuple(told),
        processes=f"{entry.records:,}",
        notes=tuple(notes),
        command=shorten(entry.command, MAX_COMMAND),
        links=links.get(entry.name, ()),
    )


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _month(entry: Entry) -> str:
    start = _moment(entry.started_at)
    return "Date unknown" if start is None else f"{start:%B %Y}"


def _when(entry: Entry) -> str:
    """``2026-11-22 10:00 UTC``; a time that is not ISO 8601 stands as it is."""
    start = _moment(entry.started_at)
    return (entry.started_at or "unknown") if start is None else f"{start:%Y-%m-%d %H:%M} UTC"


def _lasted(entry: Entry) -> str:
    """From the first process's start to the last one's: ``17 min``; "" where it is not known."""
    start, end = _moment(entry.started_at), _moment(entry.finished_at)
    if start is None or end is None or end < start:
        return ""
    minutes = (end - start).total_seconds() / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min"
