"""The trends of nightly runs: the panel of the page, and the same figure as a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.report.figures import BAND, INK, MUTED, RULE, SERIES, SETTINGS, WIDTH, _plain, _svg
from bench.stats import t_quantile

if TYPE_CHECKING:
    from bench.trends import Trend

HEIGHT = 2.6
#: A page shows so many series, those with changes first; `twinbench history` has all of them.
MAX_TRENDS = 24
#: The newest nights of a series that a figure or a table shows.
MAX_NIGHTS = 120
#: In a file there are no CSS variables.
PLAIN = {INK: "#1d1d1f", MUTED: "#6e6e73", RULE: "#d2d2d7", BAND: "#e8eef7", SERIES[0]: "#2f6fb5", SERIES[1]: "#c2452d"}


@dataclass(frozen=True)
class Panel:
    """One series on the page."""

    label: str
    nights: int
    svg: str
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
            drawn(one),
            tuple(one.sentences()),
            tuple(one.rows()[::-1][:MAX_NIGHTS]),
            f"The newest {MAX_NIGHTS} of {len(one.series.points)} nights."
            if len(one.series.points) > MAX_NIGHTS
            else "",
        )
        for one in ordered[:MAX_TRENDS]
    ]


def drawn(one: Trend) -> str:
    """The figure of one series as an SVG element."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.09, 0.2, 0.89, 0.74))
        _draw(axes, one, {colour: colour for colour in PLAIN})
        points = one.series.points
        alt = f"{one.label} over {len(points)} nights until {points[-1].started_at[:10]}; the table has the numbers"
        return _svg(figure, _plain(alt))


def save(found: Sequence[Trend], path: Path) -> None:
    """All series below each other, as a file.

    Raises:
        ValueError: matplotlib knows no such kind of file.
    """
    with mpl.rc_context({"svg.hashsalt": "twinbench", "font.size": 10}):
        figure = Figure(figsize=(WIDTH, HEIGHT * len(found)), layout="constrained")
        FigureCanvasAgg(figure)
        for index, one in enumerate(found):
            axes = figure.add_subplot(len(found), 1, index + 1)
            _draw(axes, one, PLAIN)
            axes.set_title(_plain(one.label), loc="left", fontsize=10)
        figure.savefig(path, dpi=150)


def _draw(axes: Axes, one: Trend, colours: dict[str, str]) -> None:
    """Each night with its interval, the levels, where the next night is expected, and where levels changed."""
    points = one.series.points
    begin = max(0, len(points) - MAX_NIGHTS)
    nights = range(begin, len(points))
    ratios = [math.exp(points[night].log_ratio or 0.0) for night in nights]
    halves = [t_quantile(0.975, max(1, points[night].blocks - 1)) * (points[night].error or 0.0) for night in nights]
    axes.axhline(1, color=colours[INK], linewidth=0.9)
    if one.expected is not None:
        low, high = one.expected.interval()
        axes.axhspan(math.exp(low), math.exp(high), color=colours[BAND], linewidth=0)
    axes.vlines(
        list(nights),
        [ratio * math.exp(-half) for ratio, half in zip(ratios, halves, strict=True)],
        [ratio * math.exp(half) for ratio, half in zip(ratios, halves, strict=True)],
        color=colours[MUTED],
        linewidth=1,
    )
    axes.scatter(list(nights), ratios, s=22, color=colours[SERIES[0]], linewidth=0, zorder=3)
    for found in one.found:
        if found.change.first >= begin:
            axes.axvline(found.change.first - 0.5, color=colours[SERIES[1]], linewidth=1.4)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=colours[RULE], linewidth=0.7)
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
