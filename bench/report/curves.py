"""The figure of a scaling: throughput against batch or size, with intervals, CPUs dashed."""

from __future__ import annotations

import math

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.figures import INK, RULE, SERIES, SETTINGS, WIDTH, _plain, _svg
from bench.report.scaling import Crossover, Scaling

HEIGHT = 3.6
#: How close two labels at the right may come, as a share of the height.
GAP = 0.075
MAX_TICKS = 12


def scaling(shown: Scaling, series: dict[str, int], alt: str) -> str:
    """Curves with error bars; a thin vertical line where one overtakes another."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.10, 0.15, 0.62, 0.81))
        for side in ("right", "top"):
            axes.spines[side].set_visible(False)
        axes.grid(color=RULE, linewidth=0.7)
        axes.set_axisbelow(True)
        for curve in shown.curves:
            colour = SERIES[series[curve.environment] % len(SERIES)]
            places = [place for place, _ in curve.points]
            rates = [rate.estimate for _, rate in curve.points]
            dashes = (4, 2.5) if curve.device == "cpu" else (None, None)
            axes.plot(places, rates, color=colour, linewidth=1.7, dashes=dashes, marker="o", markersize=4.2)
            spread = [
                (x, rate.low, rate.high) for x, rate in curve.points if rate.low is not None and rate.high is not None
            ]
            axes.vlines(
                [x for x, _, _ in spread], [low for _, low, _ in spread], [high for _, _, high in spread], color=INK,
                linewidth=1.0,
            )  # fmt: skip
        for crossing in shown.crossovers:
            _mark(axes, crossing)
        _scales(axes, shown)
        _labels(axes, shown, series)
        return _svg(figure, alt)


def _mark(axes: Axes, crossing: Crossover) -> None:
    if crossing.at is not None:
        axes.axvline(crossing.at, color=INK, linewidth=0.8, dashes=(1, 2))


def _scales(axes: Axes, shown: Scaling) -> None:
    axes.set_yscale("log")
    rates = [rate.estimate for curve in shown.curves for _, rate in curve.points]
    low, high = min(rates) / 1.3, max(rates) * 1.3
    axes.set_ylim(low, high)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [s * 10.0**power for power in range(-9, 13) for s in steps]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_ylabel(f"{_plain(shown.unit)} (log scale)")
    names = dict(shown.ticks)
    if shown.axis == "batch":
        axes.set_xscale("log", base=2)
    else:
        axes.set_xlim(min(names) - 0.3, max(names) + 0.3)
    stride = math.ceil(len(names) / MAX_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(sorted(names)[::stride]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(names.get(value, f"{value:g}"))))
    axes.set_xlabel("batch (log scale)" if shown.axis == "batch" else "size")


def _short(value: float) -> str:
    """``2 k`` for 2000."""
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{prefix}"
    return f"{value:g}"


def _labels(axes: Axes, shown: Scaling, series: dict[str, int]) -> None:
    """The name of each curve right of its last point, moved apart where two would meet."""
    low, high = axes.get_ylim()
    wanted = sorted(
        ((math.log(curve.points[-1][1].estimate / low) / math.log(high / low), curve) for curve in shown.curves),
        key=lambda pair: pair[0],
    )
    # From below, but never so far up that the uppermost would leave the figure.
    floor = 0.0
    for index, (height, curve) in enumerate(wanted):
        room = 1.0 - GAP * (len(wanted) - 1 - index)
        height = max(floor, min(height, room))
        floor = height + GAP
        colour = SERIES[series[curve.environment] % len(SERIES)]
        dash = "- -" if curve.device == "cpu" else "—"
        end = f"  ({curve.end})" if curve.end else ""
        axes.text(
            1.02, height, _plain(f"{dash} {curve.label}{end}"), transform=axes.transAxes, va="center", color=colour
        )
