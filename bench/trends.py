"""A cell's history for people: which series a word means, a table for the terminal, a figure as a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.table import Table
from rich.text import Text

from bench import points
from bench.changepoints import Prediction
from bench.errors import UsageError, unknown
from bench.history import Found, Series, series_of
from bench.tidings import percent, sentence, size_words, span


@dataclass(frozen=True)
class Trend:
    """One series, with all that was found in it and where the next night is expected: judged when it is asked for."""

    series: Series

    @cached_property
    def found(self) -> tuple[Found, ...]:
        """Every change, oldest first."""
        return tuple(self.series.found())

    @cached_property
    def expected(self) -> Prediction | None:
        """Where the next night is expected; None while too few nights are known."""
        return self.series.prediction()

    @property
    def label(self) -> str:
        """The cell, and against what."""
        return self.series.cell.label

    def sentences(self) -> list[str]:
        """Why the series began, and every change in it."""
        began = [f"a series of its own: {self.series.began}"] if self.series.began else []
        return began + [sentence(self.series, found) for found in self.found]

    def rows(self, newest: int | None = None) -> list[tuple[str, str, str, str, str]]:
        """(date, run, ratio with its interval, the newest side's framework, what happened) of each night.

        ``newest``: of so many at the end only.
        """
        marks = {found.change.first: f"{size_words(found)} from here on" for found in self.found}
        made = []
        points = self.series.points
        for index in range(max(0, len(points) - newest) if newest is not None else 0, len(points)):
            point = points[index]
            ratio = point.log_ratio or 0.0
            said = [marks.get(index, "")]
            said += [f"measured again, at first {percent(point.first)}"] if point.first is not None else []
            interval = f"{percent(ratio)} ({span(point.error or 0.0, ratio, point.blocks)})"
            made.append(
                (
                    point.started_at[:10],
                    point.run,
                    interval,
                    newest_words(self.series, index),
                    "; ".join(filter(None, said)),
                )
            )
        return made


def newest_words(series: Series, index: int) -> str:
    """``torch 2.13.1``: what the framework's distributions were on the newest side."""
    prints = series.points[index].fingerprints
    if prints is None:
        return "–"
    names = [name for name in prints[1].versions if name not in ("python", "numpy", "twinbench")]
    return ", ".join(f"{name} {prints[1].versions[name]}" for name in names[:2]) or "–"


def trends(results: Path, problems: list[str], until: str | None = None) -> list[Trend]:
    """Every series of the nights in ``results``, none judged yet; ``problems`` collects what could not be read.

    ``until``: what began later does not count, so that the page of an old night can be made again.
    """
    known = points.read_all(points.nights(results), problems)
    every = series_of(point for point in known if until is None or point.started_at <= until)
    return [Trend(one) for one in every]


def chosen(every: Sequence[Trend], word: str, results: Path) -> list[Trend]:
    """The trends that ``word`` means: a cell's id, or words that all stand in its label ("mlp torch"); "" is all.

    Raises:
        UsageError: there are no nights, or no cell fits.
    """
    if not every:
        raise UsageError(f"no finished nights in {results} yet; make one with: twinbench nightly")
    found = [one for one in every if one.series.cell.id == word]
    found = found or [one for one in every if all(part in one.label for part in word.split())]
    if not found:
        raise unknown("cell", word, list(dict.fromkeys(one.label for one in every)))
    return found


def tables(found: Sequence[Trend]) -> list[Table | Text]:
    """For a terminal."""
    made: list[Table | Text] = []
    for one in found:
        table = Table(title=f"{one.label} ({one.series.cell.id}): newest against pinned", title_justify="left")
        for head in ("date", "night", "speed of newest / pinned", "newest", "what happened"):
            table.add_column(head, overflow="fold")
        for row in one.rows():
            table.add_row(*map(Text, row))
        made.append(table)
        made += [Text(line) for line in one.sentences()]
    return made


def draw(found: Sequence[Trend], path: Path) -> Path:
    """The figure of the trends as a file: the ending says what kind (png, svg, pdf).

    Raises:
        UsageError: the extra ``report`` is missing, no such kind of file, or it cannot be written.
    """
    try:
        from bench.report.trends import save

        path.parent.mkdir(parents=True, exist_ok=True)
        save(found, path)
    except ModuleNotFoundError as error:
        raise UsageError(f"a figure needs {error.name}: pip install 'twinbench[report]'") from error
    except ValueError as error:
        raise UsageError(f"cannot draw {path}: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path
