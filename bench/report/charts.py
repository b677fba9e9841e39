"""Charts of points over a measured axis: one description, drawn once by matplotlib for print, files and readers
without scripts, and once by uPlot (a library, inlined) where hovering and zooming matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, NullLocator

from bench.report.figures import WIDTH, short
from bench.report.ink import Palette, Picture, plain

HEIGHT = 3.6
#: How close two labels at the right may come, as a share of the height.
GAP = 0.075
MAX_TICKS = 12
#: Beyond these no figure of a machine lies.
LEAST, MOST = 1e-30, 1e30
#: Shapes beside colours, so that nobody needs to see colours.
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Point:
    """A place in the chart; ``low`` and ``high`` are its interval upwards, ``text`` what is told of it on hover."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Series:
    """Points of one colour (``colour`` counts the series of the palette), joined where ``line``.

    ``bare``: only the line. ``wrong``: points that have no speed; they are drawn as crosses on the floor of the chart,
    whatever their ``y``.
    """

    label: str
    colour: int
    points: tuple[Point, ...]
    line: bool = False
    dashed: bool = False
    bare: bool = False
    wrong: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart with a logarithmic y axis. ``ticks``: names of places on the x axis, where it does not count.

    ``marks``: places of thin vertical lines.
    """

    name: str
    alt: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_scale: str = "log"
    ticks: tuple[tuple[float, str], ...] = ()
    marks: tuple[float, ...] = ()

    @property
    def picture(self) -> Picture:
        """For print, files, and readers without scripts."""
        return Picture(self.name, lambda palette: _draw(self, palette), self.alt)

    @property
    def floor(self) -> float:
        """The lowest y of the chart: where points without a speed stand."""
        return min(one.low or one.y for each in self.series if not each.wrong for one in each.points) / 1.4

    @property
    def data(self) -> dict[str, Any]:
        """For the page's script: what it hands to uPlot."""
        return {
            "alt": self.alt,
            "x": {"label": self.x_label, "log": self.x_scale, "ticks": self.ticks},
            "y": {"label": self.y_label},
            "marks": self.marks,
            "series": [
                {
                    "label": one.label,
                    "colour": one.colour % 6,
                    "line": one.line,
                    "dashed": one.dashed,
                    "bare": one.bare,
                    "wrong": one.wrong,
                    "shape": "x" if one.wrong else MARKERS[number % len(MARKERS)],
                    "points": [
                        [point.x, self.floor if one.wrong else point.y, point.low, point.high, point.text]
                        for point in one.points
                    ],
                }
                for number, one in enumerate(self.series)
            ],
        }


def _draw(chart: Chart, palette: Palette) -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.10, 0.15, 0.62, 0.81))
    axes.grid(color=palette.rule, linewidth=0.7)
    axes.set_axisbelow(True)
    for number, one in enumerate(chart.series):
        _series(axes, one, MARKERS[number % len(MARKERS)], chart.floor, palette)
    for place in chart.marks:
        axes.axvline(place, color=palette.ink, linewidth=0.8, dashes=(1, 2))
    _y_axis(axes, chart)
    _x_axis(axes, chart)
    _labels(axes, chart, palette)
    return figure


def _series(axes: Axes, one: Series, marker: str, floor: float, palette: Palette) -> None:
    colour = palette.of(one.colour)
    x = [point.x for point in one.points]
    if one.wrong:
        axes.scatter(x, [floor] * len(x), marker="x", s=46, color=palette.bad, linewidth=1.8, zorder=4)
        return
    dashes = (4, 2.5) if one.dashed else (None, None)
    y = [point.y for point in one.points]
    if one.line:
        axes.plot(x, y, color=colour, linewidth=1.7, dashes=dashes)
    if not one.bare:
        axes.scatter(x, y, marker=marker, s=22, color=colour, linewidth=0, zorder=3)
    spread = [(p.x, p.low, p.high) for p in one.points if p.low is not None and p.high is not None]
    columns = [row[0] for row in spread], [row[1] for row in spread], [row[2] for row in spread]
    axes.vlines(*columns, color=palette.ink, linewidth=1.0)


def _y_axis(axes: Axes, chart: Chart) -> None:
    axes.set_yscale("log")
    values = [point.y for one in chart.series if not one.wrong for point in one.points]
    low, high = min(*values, chart.floor) / 1.15, max(values) * 1.3
    axes.set_ylim(low, high)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [s * 10.0**power for power in range(-9, 16) for s in steps]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_ylabel(plain(chart.y_label))


def _x_axis(axes: Axes, chart: Chart) -> None:
    names = dict(chart.ticks)
    if chart.x_scale == "linear" and names:
        axes.set_xlim(min(names) - 0.3, max(names) + 0.3)
    elif chart.x_scale == "log2":
        axes.set_xscale("log", base=2)
    elif chart.x_scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogFormatter())
    if names:
        stride = math.ceil(len(names) / MAX_TICKS)
        axes.xaxis.set_major_locator(FixedLocator(sorted(names)[::stride]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(names.get(value, f"{value:g}"))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(plain(chart.x_label))


def _labels(axes: Axes, chart: Chart, palette: Palette) -> None:
    """The name of each series right of the plot: lines at the height of their end, moved apart where two would meet."""
    low, high = axes.get_ylim()
    height_of = {
        number: math.log(max(chart.floor if one.wrong else one.points[-1].y, low) / low) / math.log(high / low)
        for number, one in enumerate(chart.series)
    }
    floor = 0.0
    for index, number in enumerate(sorted(height_of, key=lambda one: height_of[one])):
        one = chart.series[number]
        # From below, but never so far up that the uppermost would leave the figure.
        height = max(floor, min(height_of[number], 1.0 - GAP * (len(height_of) - 1 - index)))
        floor = height + GAP
        colour = palette.bad if one.wrong else palette.of(one.colour)
        if one.line:
            axes.plot([1.02, 1.06], [height] * 2, color=colour, linewidth=1.7, transform=axes.transAxes,
                      clip_on=False, dashes=(4, 2.5) if one.dashed else (None, None))  # fmt: skip
        else:
            marker = "x" if one.wrong else MARKERS[number % len(MARKERS)]
            axes.scatter([1.04], [height], marker=marker, s=22, color=colour, transform=axes.transAxes, clip_on=False)
        axes.text(1.08, height, plain(one.label), transform=axes.transAxes, va="center", color=palette.ink)


def sane(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points that a logarithmic axis can hold, by x: a record that somebody edited may say anything."""
    return tuple(
        sorted((one for one in points if all(LEAST < each < MOST for each in (one.x, one.y))), key=lambda p: p.x)
    )


def drawable(series: Sequence[Series]) -> bool:
    """Whether there is a chart at all: one point that has a speed."""
    return any(one.points and not one.wrong for one in series)
