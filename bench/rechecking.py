"""``twinbench report --recheck``: a written page against the raw samples, by a second path and by being made anew."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import __version__, index, publishing, reporting, store
from bench.errors import TwinbenchError, UsageError
from bench.report import pagefile, raw, recheck, write_report


class Differs(TwinbenchError):
    """A page says what the records do not: exit code 1, one line for each figure."""


@dataclass(frozen=True)
class Checked:
    """How many figures were recomputed, what differs (the first cell first), what could not be compared; remarks."""

    figures: int
    differences: tuple[str, ...]
    not_compared: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Remade:
    """What the records give: figures by group under the page's names, further complaints, and the page made anew."""

    groups: Mapping[str, Mapping[str, Any]]
    complaints: Sequence[str]
    html: Callable[[], str]


def check(path: Path, results: Path) -> Checked:
    """Recompute all that the page at ``path`` shows.

    Raises:
        UsageError: no such page, none with figures, or its runs are not in ``results``.
    """
    page = pagefile.read(path)
    kinds = {"report": _report, "compare": _compare, "index": _index}
    kind = page.figures.get("kind")
    if kind not in kinds:
        raise UsageError(f"{path} is a page of kind {kind!r}; known are {', '.join(kinds)}")
    try:
        remade = kinds[kind](page.figures, results, path)
        shown = {name: _by_key(page.figures.get(name, {})) for name in remade.groups}
        found = list(recheck.differences(shown, remade.groups))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"the figures of {path} are damaged: {error!r}") from error
    count = sum(len(figures) for groups in remade.groups.values() for figures in groups.values())
    missed: list[str] = []
    notes: list[str] = []
    if page.figures.get("twinbench") != __version__:
        missed.append(
            f"its text was not compared: twinbench {page.figures.get('twinbench')} wrote it, this is {__version__}"
        )
    else:
        fresh = pagefile.parsed(remade.html())
        # What the second path has named already is not named twice.
        found = found or list(recheck.data_differences(page.figures, fresh.figures))
        found += recheck.text_differences(page, fresh)
        if recheck.split(page)[1] != recheck.split(fresh)[1]:
            missed.append("the error rates of the suite, which no record gives, are another selftest's by now")
        elif not found and page.text != fresh.text:
            notes.append(
                "its text is that of the records; its drawing or style is not byte for byte what is drawn here"
            )
    return Checked(count, (*found, *remade.complaints), tuple(missed), tuple(notes))


def _by_key(groups: Any) -> dict[str, Any]:
    """Groups by name; comparisons are a list, and are named by their two cells."""
    if isinstance(groups, Mapping):
        return dict(groups)
    return {f"{one['a']} {one['b']}": _comparable(one) for one in groups}


def _comparable(one: Mapping[str, Any]) -> dict[str, Any]:
    """What the second path computes of a comparison; the words around it are compared as text."""
    return {name: one[name] for name in ("ratio", "ratio_low", "ratio_high") if name in one}


def _report(figures: Mapping[str, Any], results: Path, path: Path) -> _Remade:
    folders = [store.find(results, name) for name in figures["runs"]]
    samples = raw.Samples(store.read_all(folders, []))
    cells = raw.cells(samples, figures["baseline"])
    pairs = [one for one in figures["comparisons"] if "word" in one]
    groups = {
        "cells": cells,
        "accelerations": raw.accelerations(cells, samples),
        "comparisons": {
            f"{one['a']} {one['b']}": _comparable(_duet(samples, one, figures) if "word" in one else {})
            for one in figures["comparisons"]
        },
    }

    def made() -> str:
        material = reporting.gather(folders, figures["baseline"], figures["margin"], figures["title"])
        with tempfile.TemporaryDirectory() as folder:
            page = write_report(material.summaries, material.comparisons, material.meta, Path(folder) / path.name)
            return page.read_text(encoding="utf-8")

    return _Remade(groups, list(recheck.verdict_differences(pairs, figures["margin"])), made)


def _duet(samples: raw.Samples, one: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The second path's figures of one comparison, by the looks of the page."""
    return raw.duet(samples, one["a"], one["b"], {**one, "looks": figures["looks"]})


def _compare(figures: Mapping[str, Any], results: Path, path: Path) -> _Remade:
    a, b = figures["runs"]
    margin, session_sd = figures["margin"], figures["session_sd"]
    side_a, side_b = (raw.Samples(store.read(store.find(results, name), [])) for name in (a, b))
    cells = {cell.id: cell for cell in side_a.by_cell}
    found: dict[str, Any] = {}
    for one in figures["comparisons"]:
        key = f"{one['a']} {one['b']}"
        if one["kind"] != "stored":
            found[key] = _comparable(_duet(side_a, one, figures))
        elif one["a"] in cells and cells[one["a"]] in side_b.by_cell:
            found[key] = raw.stored(side_a, side_b, cells[one["a"]], session_sd)
    ratios = [math.log(one["ratio"]) for one in found.values()]
    mean = {"ratio": math.exp(math.fsum(ratios) / len(ratios))} if ratios else {}

    def made() -> str:
        across = frozenset(figures["across"])
        return publishing.compare_html(publishing.compared(results, a, b, margin, session_sd, across, figures["title"]))

    complaints = list(recheck.verdict_differences(figures["comparisons"], margin))
    told = figures["mean"].get("ratio")
    if not recheck.alike(told, mean.get("ratio")):
        complaints.append(f"the geometric mean is {told} on the page, {mean.get('ratio')} from the raw samples")
    return _Remade({"comparisons": found}, complaints, made)


def _index(figures: Mapping[str, Any], results: Path, path: Path) -> _Remade:
    runs: dict[str, Any] = {}
    for folder in store.runs(results):
        problems: list[str] = []
        runs[folder.name] = raw.index(store.lines(folder, problems, index.glance))
        runs[folder.name]["skipped"] = len(problems)

    def made() -> str:
        return publishing.index_html(results, figures["title"], figures["pages"], remember=False)

    return _Remade({"runs": runs}, [], made)


def read_out(checked: Checked, path: Path) -> str:
    """What was found, for the terminal.

    Raises:
        Differs: a figure differs; the message names the first and the others.
    """
    if checked.differences:
        first, *others = checked.differences
        more = "".join(f"\n  {line}" for line in others[:20])
        cut = f"\n  and {len(others) - 20:,} more" if len(others) > 20 else ""
        raise Differs(f"{path} is not what its records give: {first}{more}{cut}")
    notes = "".join(f"\n{note}" for note in (*checked.not_compared, *checked.notes))
    return f"{path}: {checked.figures:,} figures recomputed from the raw samples, all as shown{notes}"
