"""The trends of nightly runs: the panels of the page, and the same figures as one file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.report.figures import WIDTH
from bench.report.ink import PAPER, Palette, Picture, plain, settings
from bench.stats import t_quantile

if TYPE_CHECKING:
    from bench.trends import Trend

HEIGHT = 2.6
#: A page shows so many series, those with changes first; `twinbench history` has all of them.
MAX_TRENDS = 24
#: The newest nights of a series that a figure or a table shows.
MAX_NIGHTS = 120
PNG_DPI = 150


@dataclass(frozen=True)
class Panel:
    """One series on the page."""

    label: str
    nights: int
    picture: Picture
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str, str, str, str], ...]
    cut: str = ""


def panels(found: Sequence[Trend]) -> list[Panel]:
    """The panels of the page: series with changes first."""
    ordered = sorted(found, key=lambda one: not one.found)
    return [
        Panel(
            one.label,
            len(one.series.points),
            picture(one, index),
            tuple(one.sentences()),
            tuple(one.rows(MAX_NIGHTS)[::-1]),
            f"The newest {MAX_NIGHTS} of {len(one.series.points)} nights."
            if len(one.series.points) > MAX_NIGHTS
            else "",
        )
        for index, one in enumerate(ordered[:MAX_TRENDS])
    ]


def cut(total: int) -> str:
    """What is said of series beyond the cap; "" where there are none."""
    if total <= MAX_TRENDS:
        return ""
    return f"{MAX_TRENDS} of {total} series are shown, those with changes first; twinbench history has all of them."


def picture(one: Trend, index: int) -> Picture:
    """The figure of one series."""
    points = one.series.points
    until = f"{len(points)} nights until {points[-1].started_at[:10]}"
    alt = f"Trend {index + 1}: {one.label} over {until}; the table below has the numbers"
    return Picture(f"trend-{index}", partial(_drawn, one), plain(alt))


def _drawn(one: Trend, palette: Palette) -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    _draw(figure.add_axes((0.11, 0.2, 0.87, 0.74)), one, palette)
    return figure


def save(found: Sequence[Trend], path: Path) -> None:
    """All series below each other, as a file.

    Raises:
        ValueError: matplotlib knows no such kind of file.
    """
    with mpl.rc_context(settings(PAPER)):
        figure = Figure(figsize=(WIDTH, HEIGHT * len(found)), layout="constrained")
        FigureCanvasAgg(figure)
        for index, one in enumerate(found):
            axes = figure.add_subplot(len(found), 1, index + 1)
            _draw(axes, one, PAPER)
            axes.set_title(plain(one.label), loc="left", fontsize=10)
        figure.savefig(path, dpi=PNG_DPI)


def _draw(axes: Axes, one: Trend, palette: Palette) -> None:
    """Each night with its interval, the levels, where the next night is expected, and where levels changed."""
    points = one.series.points
    begin = max(0, len(points) - MAX_NIGHTS)
    nights = range(begin, len(points))
    ratios = [math.exp(points[night].log_ratio or 0.0) for night in nights]
    halves = [t_quantile(0.975, max(1, points[night].blocks - 1)) * (points[night].error or 0.0) for night in nights]
    axes.axhline(1, color=palette.ink, linewidth=0.9)
    if one.expected is not None:
        low, high = one.expected.interval()
        axes.axhspan(math.exp(low), math.exp(high), color=palette.band, linewidth=0)
    axes.vlines(
        list(nights),
        [ratio * math.exp(-half) for ratio, half in zip(ratios, halves, strict=True)],
        [ratio * math.exp(half) for ratio, half in zip(ratios, halves, strict=True)],
        color=palette.muted,
        linewidth=1,
    )
    axes.scatter(list(nights), ratios, s=22, color=palette.of(0), linewidth=0, zorder=3)
    for found in one.found:
        if found.change.first >= begin:
            axes.axvline(found.change.first - 0.5, color=palette.bad, linewidth=1.4)
    axes.grid(axis="y", color=palette.rule, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}×"))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _date(one, value)))
    axes.set_ylabel("newest / pinned")


def _date(one: Trend, place: float) -> str:
    """``11-23`` of the night at ``place``; nothing between nights and beyond the last."""
    index = round(place)
    inside = abs(place - index) < 1e-6 and 0 <= index < len(one.series.points)
    return one.series.points[index].started_at[5:10] if inside else ""
