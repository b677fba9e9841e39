"""The panel of the suite's own error rates: what ``twinbench selftest`` left beside the runs, as words. No HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rate_words import COLUMNS, FILE, OTHERS, OURS, SCHEMA, rate_of, sentence, words
from bench.rates import Rate


@dataclass(frozen=True)
class RateTable:
    """Rates under ``COLUMNS``."""

    title: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Panel:
    """What a selftest found, and the file that it comes from."""

    source: str
    sentences: tuple[str, ...]
    tables: tuple[RateTable, ...]
    columns: tuple[str, ...] = COLUMNS


def read(folders: Sequence[Path], problems: list[str]) -> Panel | None:
    """The panel of the newest run that holds a selftest, else of the folder of all runs; None where none does.

    A file that cannot be read is a problem, and not shown.
    """
    places = [*(folder / FILE for folder in reversed(folders)), *(folder.resolve().parent / FILE for folder in folders)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    try:
        # Not the whole path: a page is passed on and rechecked elsewhere.
        return panel(f"{path.parent.name}/{path.name}", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problems.append(f"{path}: not shown: {type(error).__name__}: {error}")
        return None


def panel(source: str, made: Mapping[str, Any]) -> Panel:
    """The panel of what ``twinbench selftest`` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is nothing of the kind.
    """
    if made["schema"] != SCHEMA:
        raise ValueError(f"schema {made['schema']} is not the one that this twinbench reads ({SCHEMA})")
    found = [rate_of(one) for one in made["rates"]]
    live = made["live"]
    lived = [rate_of(one) for one in live["rates"]] if live else []
    ours = [one for one in found if one.rule.startswith(OURS)]
    tables = [(OURS, ours)]
    if live:
        tables.append((f"live, {live['cell']}", lived))
    tables.append((OTHERS, [one for one in found if not one.rule.startswith(OURS)]))
    return Panel(
        source,
        tuple(_sentences(made, found, lived)),
        tuple(RateTable(title, tuple(map(words, rates))) for title, rates in tables if rates),
    )


def _sentences(made: Mapping[str, Any], found: Sequence[Rate], lived: Sequence[Rate]) -> list[str]:
    files = ", ".join(str(one["file"]) for one in made["recordings"]) or "no recordings"
    said = [
        f"Found by twinbench {made['twinbench']} on {str(made['created_at'])[:10]} ({made['chip'] or 'unknown chip'}), "
        f"in {int(made['trials']):,} seeded trials a rate at most, on {files} and on simulated machines and nights."
    ]
    asked = [one for one in (*found, *lived) if one.demand is not None]
    missed = [one for one in asked if not one.holds]
    few = sum(one.few for one in asked)
    unsure = f", {few} of them with too few trials to be sure" if few else ""
    said.append(f"Of {len(asked)} rates that something is asked of, {len(asked) - len(missed)} hold{unsure}.")
    said += [f"Missed: {one.source}, {one.clock} time: {sentence(one)}: {one}." for one in missed]
    flagged = [one for one in found if one.what == "flagged" and not one.effect and one.origin == "identical"]
    ours = [one.value for one in flagged if one.rule.startswith(OURS) and one.demand is not None]
    others = [one.value for one in flagged if not one.rule.startswith(OURS)]
    if ours and others:
        said.append(
            f"Identical code, as it was recorded: twinbench called it changed in {_share(max(ours))} of trials at "
            f"most, the rules of other tools in {_share(min(others))} to {_share(max(others))}."
        )
    if live := made["live"]:
        floors = ", ".join(f"{_share(float(floor))} by {clock} time" for clock, floor in live["floors"].items())
        said.append(f"Live: identical code differed by up to {floors or 'an unknown share'} on that machine.")
    said += [f"Not measured: {name}: {why}." for name, why in made["not_measured"].items()]
    return said


def _share(value: float) -> str:
    return f"{value:.1%}".replace("%", " %")
