"""Figures as inline SVG: deterministic, no scripts, colours from CSS variables so that light and dark both work.

Matplotlib draws with sentinel colours (``INK`` and so on), which become ``var(--ink)`` in the text of the SVG; fonts
are left to the page. The object API with the SVG backend only: no pyplot, no global state.
"""

from __future__ import annotations

import html
import io
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report import numbers
from bench.summary import Interval

INK, MUTED, RULE, BAND = "#0f0f01", "#0f0f02", "#0f0f03", "#0f0f04"
SERIES = tuple(f"#0f0f1{digit}" for digit in range(6))
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", BAND: "--band"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
#: Inches; an SVG inch is 72 units.
WIDTH, ROW, HEAD, FOOT = 9.0, 0.27, 0.12, 0.45
#: Names of matplotlib's settings are a literal type that differs between its versions.
SETTINGS: Any = {
    "text.parse_math": False,
    "svg.hashsalt": "twinbench",
    "svg.fonttype": "none",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "axes.edgecolor": RULE,
}


@dataclass(frozen=True)
class Line:
    """One row of a figure; a heading when ``interval`` is None. ``series`` picks the colour."""

    label: str
    interval: Interval | None = None
    text: str = ""
    series: int = 0
    marks: tuple[float, ...] = ()
    #: (colour number, value) of each piece of a stacked bar.
    pieces: tuple[tuple[int, float], ...] = ()


def speed_ups(lines: Sequence[Line], alt: str) -> str:
    """Bars from the 1× line on a log axis, with error bars and the ratio in words at the right."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _canvas(len(lines))
        found = _rated(axes, lines)
        colours = [SERIES[line.series % len(SERIES)] for _, line, _ in found]
        rows = [y for y, _, _ in found]
        axes.barh(rows, [ratio.estimate - 1 for _, _, ratio in found], left=1, height=0.62, color=colours, linewidth=0)
        spread = [
            (y, ratio.low, ratio.high) for y, _, ratio in found if ratio.low is not None and ratio.high is not None
        ]
        axes.hlines(*_columns(spread), color=INK, linewidth=1.1)
        for end in (1, 2):
            axes.scatter(
                [one[end] for one in spread], [one[0] for one in spread], marker="|", s=34, color=INK, linewidth=1.1
            )
        axes.axvline(1, color=INK, linewidth=1.2)
        _ratio_axis(axes, [1.0, *_ends(found)])
        axes.set_xlabel("slower than the baseline  ←  1×  →  faster (log scale)")
        return _svg(figure, alt)


def latencies(lines: Sequence[Line], alt: str) -> str:
    """A line from p50 (dot) over p90 (tick) to p99 (open dot) in ``marks`` (seconds), log axis."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _canvas(len(lines))
        timed = []
        for y, line in enumerate(lines):
            if line.marks:
                _words(axes, y, line)
                timed.append((y, line, SERIES[line.series % len(SERIES)]))
            else:
                _heading(axes, y, line.label)
        rows, colours = [y for y, _, _ in timed], [colour for _, _, colour in timed]
        p50, p90, p99 = ([line.marks[place] for _, line, _ in timed] for place in range(3))
        axes.hlines(rows, p50, p99, colors=colours, linewidth=1.8)
        axes.scatter(p50, rows, s=36, c=colours, linewidth=0, zorder=3)
        axes.scatter(p90, rows, s=80, c=colours, marker="|", linewidth=1.8, zorder=3)
        axes.scatter(p99, rows, s=30, facecolors="none", edgecolors=colours, linewidth=1.4, zorder=3)
        low, high = min(p50) / 1.25, max(p99) * 1.25
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(_decades(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.plain_duration(value)))
        axes.set_xlabel("latency of one iteration (log scale):  ● p50   | p90   ○ p99")
        return _svg(figure, alt)


def shares(lines: Sequence[Line], alt: str) -> str:
    """A bar of full width per line, divided as its ``pieces`` divide their sum."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _canvas(len(lines))
        for y, line in enumerate(lines):
            total = sum(value for _, value in line.pieces)
            if not total:
                _heading(axes, y, line.label)
                continue
            _words(axes, y, line)
            left = 0.0
            for series, value in line.pieces:
                width = 100 * value / total
                axes.barh(y, width, left=left, height=0.62, color=SERIES[series % len(SERIES)], linewidth=0)
                left += width
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_xlabel("share of the iteration's stages; at the right their sum")
        return _svg(figure, alt)


def verdicts(lines: Sequence[Line], margin: float, alt: str) -> str:
    """Ratio b/a with its interval against the band of ``margin`` (0.03 is ±3 %) inside which nothing is new."""
    with mpl.rc_context(SETTINGS):
        figure, axes = _canvas(len(lines), 0.38)
        axes.axvspan(1 / (1 + margin), 1 + margin, color=BAND, linewidth=0)
        axes.axvline(1, color=INK, linewidth=1)
        found = _rated(axes, lines)
        for y, line, ratio in found:
            colour = SERIES[line.series % len(SERIES)]
            if ratio.low is not None and ratio.high is not None:
                axes.hlines(y, ratio.low, ratio.high, colors=colour, linewidth=3.2)
            axes.scatter([ratio.estimate], [y], s=42, c=colour, linewidth=0, zorder=3)
        _ratio_axis(axes, [1 / (1 + margin), 1 + margin, *_ends(found)])
        axes.set_xlabel(f"b slower  ←  speed of b / speed of a  →  b faster; band: margin of {numbers.percent(margin)}")
        return _svg(figure, alt)


def _rated(axes: Axes, lines: Sequence[Line]) -> list[tuple[int, Line, Interval]]:
    """Write the words of all lines; (row, line, interval) of those that are no headings."""
    found = []
    for y, line in enumerate(lines):
        if line.interval is None:
            _heading(axes, y, line.label)
        else:
            _words(axes, y, line)
            found.append((y, line, line.interval))
    return found


def _ends(found: Sequence[tuple[int, Line, Interval]]) -> list[float]:
    return [end for _, _, ratio in found for end in (ratio.estimate, ratio.low, ratio.high) if end is not None]


def _columns(rows: Sequence[tuple[float, float, float]]) -> tuple[list[float], list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _canvas(rows: int, share: float = 0.44) -> tuple[Figure, Axes]:
    height = HEAD + ROW * rows + FOOT
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0.30, FOOT / height, share, 1 - (HEAD + FOOT) / height))
    axes.set_ylim(rows - 0.4, -0.6)
    axes.yaxis.set_major_locator(NullLocator())
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _words(axes: Axes, y: int, line: Line) -> None:
    side = axes.get_yaxis_transform()
    axes.text(-0.02, y, _plain(line.label), transform=side, ha="right", va="center")
    axes.text(1.03, y, _plain(line.text), transform=side, ha="left", va="center")


def _heading(axes: Axes, y: int, label: str) -> None:
    axes.text(-0.62, y, _plain(label), transform=axes.get_yaxis_transform(), va="center", color=MUTED, weight="bold")


def _plain(text: str) -> str:
    """One line without control characters, which XML cannot hold."""
    return "".join(char if char.isprintable() else " " for char in text)


def _ratio_axis(axes: Axes, ends: Sequence[float]) -> None:
    low, high = min(*ends, 0.97) / 1.06, max(*ends, 1.03) * 1.06
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    if high / low < 2.5:
        step = 0.05 if high / low < 1.4 else 0.1 if high / low < 1.9 else 0.2
        ticks = [1 + step * place for place in range(-20, 40)]
    elif high / low > 1e3:
        ticks = [10.0**power for power in range(-12, 13)]
    else:
        stride = max(1, math.ceil(math.log2(high / low) / 9))
        low, high = min(low, 0.48), max(high, 2.1)
        axes.set_xlim(low, high)
        ticks = [2.0**power for power in range(-30, 60) if power % stride == 0]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}×" if value >= 10 else f"{value:.3g}×"))


def _decades(low: float, high: float) -> list[float]:
    steps = (1,) if high / low > 300 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(-10, 5) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _svg(figure: Figure, alt: str) -> str:
    """The figure as an ``<svg>`` element to be put into HTML as it stands; ``alt`` is what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r"font: ([^;\"']*px) [^;\"]*", r"font: \1 var(--sans)", text)
    text = _own_ids(text, alt)
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    body = text[text.index(">") + 1 :]
    name = html.escape(alt, quote=True)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg role="img" aria-label="{name}" viewBox="{view[1]}" xmlns:xlink="http://www.w3.org/1999/xlink">{body}'


def _own_ids(text: str, alt: str) -> str:
    """Keep only ids that are referred to, and make them differ between the figures of one page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    prefix = f"f{zlib.crc32(alt.encode()):x}-"
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    return re.sub(r'(url\(#|href="#)', lambda m: f"{m[1]}{prefix}", text)
