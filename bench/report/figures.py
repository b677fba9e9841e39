"""The drawings with one row per cell: speed-ups, throughput, latency by process, stages, verdicts, the time-line.

Each takes a palette last and returns a figure; ``ink`` makes pictures of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report import numbers
from bench.report.evidence import Latencies
from bench.report.ink import Palette, plain
from bench.summary import Interval

#: Inches; an SVG inch is 72 units.
WIDTH, ROW, HEAD, FOOT = 9.0, 0.27, 0.12, 0.45
#: The same for a phone, where labels stand above their rows; a line of words, and the characters that fit in it.
NARROW, LINE, FITTING = 4.4, 0.21, 46
#: Points that the longest label of a ratio axis takes, with a gap.
TICK_ROOM = 46
#: A ratio axis reaches so many times beyond its outermost ratio at most; two blocks can give an interval from a
#: millionth to a million, beside which all other rows would be points.
REACH = 4.0


@dataclass(frozen=True)
class Line:
    """One row of a figure; a heading when it holds nothing but its label. ``series`` picks the colour."""

    label: str
    interval: Interval | None = None
    text: str = ""
    series: int = 0
    #: Single ratios beside the mean.
    dots: tuple[float, ...] = ()
    #: Latency of each process.
    boxes: tuple[Latencies, ...] = ()
    #: (colour number, value) of each piece of a stacked bar.
    pieces: tuple[tuple[int, float], ...] = ()


def gains(lines: Sequence[Line], axis: str, palette: Palette) -> Figure:
    """A mean with its interval per row, and the ratios that it is of as small dots, around the 1× line."""
    figure, axes = canvas(len(lines), palette, row=0.36)
    _gains(axes, lines, _rated(axes, lines, palette), palette)
    axes.set_xlabel(axis)
    return figure


def narrow_gains(lines: Sequence[Line], axis: str, palette: Palette) -> Figure:
    """``gains`` for a phone: the words of a row above its marks, in two lines where one cannot hold them."""
    tall = any(len(line.label) + len(line.text) > FITTING for line in lines)
    row, foot = LINE * (3.5 if tall else 2.5), 0.45 + LINE * axis.count("; ")
    height = HEAD + row * len(lines) + foot
    figure = Figure(figsize=(NARROW, height))
    axes = figure.add_axes((0.03, foot / height, 0.94, 1 - (HEAD + foot) / height))
    _style(axes, len(lines) - 0.5, -0.5, palette)
    side = axes.get_yaxis_transform()
    found = []
    for y, line in enumerate(lines):
        # On paper of their own: lines of the plot run behind them.
        look: dict[str, Any] = {"va": "center", "bbox": {"facecolor": palette.paper, "linewidth": 0, "pad": 1}}
        look |= {"transform": side, "zorder": 2.5}
        strong: dict[str, Any] = {} if line.interval else {"color": palette.muted, "weight": "bold"}
        first, second = (y - 0.32, y - 0.03) if tall else (y - 0.22, y - 0.22)
        axes.text(0, first, plain(line.label), **look, **strong)
        if line.text:
            axes.text(0 if tall else 1, second, plain(line.text), ha="left" if tall else "right", **look)
        if line.interval is not None:
            found.append((y + 0.24, line, line.interval))
    _gains(axes, lines, found, palette)
    axes.set_xlabel(axis.replace("; ", ";\n"))
    return figure


def _gains(axes: Axes, lines: Sequence[Line], found: Sequence[tuple[float, Line, Interval]], palette: Palette) -> None:
    """The marks of ``gains`` and their axis; ``found`` says at which height each stands."""
    axes.axvline(1, color=palette.ink, linewidth=1.2)
    for y, line, ratio in found:
        colour = palette.of(line.series)
        axes.scatter(line.dots, [y] * len(line.dots), s=16, color=colour, alpha=0.35, linewidth=0)
        if ratio.low is not None and ratio.high is not None:
            axes.hlines(y, ratio.low, ratio.high, color=palette.ink, linewidth=2.2)
        axes.scatter([ratio.estimate], [y], s=70, color=colour, edgecolors=palette.paper, linewidth=1.2, zorder=3)
    _reach(axes, [1.0, *(dot for line in lines for dot in line.dots)], found, palette)


def bars(lines: Sequence[Line], unit: str, palette: Palette) -> Figure:
    """Throughput from zero, with its interval; one that leaves the figure ends in an arrow."""
    figure, axes = canvas(len(lines), palette)
    found = _rated(axes, lines, palette)
    # Wide intervals of single cells must not squeeze all bars: a third beyond the longest bar is enough.
    end = 1.33 * max(rate.estimate for _, _, rate in found)
    rows = [y for y, _, _ in found]
    colours = [palette.of(line.series) for _, line, _ in found]
    axes.barh(rows, [rate.estimate for _, _, rate in found], height=0.62, color=colours, linewidth=0, clip_on=False)
    spread = [(y, rate.low, rate.high) for y, _, rate in found if rate.low is not None and rate.high is not None]
    _strokes(axes, [(y, low, min(high, end), palette.ink, 1.1) for y, low, high in spread])
    ticks = [(low, y) for y, low, _ in spread] + [(high, y) for y, _, high in spread if high <= end]
    _dots(axes, ticks, marker="|", s=34, color=palette.ink, linewidth=1.1)
    _dots(axes, [(end, y) for y, _, high in spread if high > end], marker=">", s=34, color=palette.ink, linewidth=0)
    axes.set_xlim(0, 1.02 * end)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel(plain(f"{unit}, with 95 % intervals between processes"))
    return figure


def boxes(lines: Sequence[Line], palette: Palette) -> Figure:
    """One stroke per process: thin from p5 to p95, thick from p25 to p75, a dot at p50, a ring at p99; log axis.

    A process with few samples has a dot for each of them and no stroke, one with less than many no ring.
    """
    figure, axes = canvas(len(lines), palette)
    strokes: list[tuple[float, float, float, str, float]] = []
    middles: list[tuple[float, float]] = []
    tails: list[tuple[float, float]] = []
    rings: list[str] = []
    singles: list[tuple[float, float]] = []
    colours: list[str] = []
    times: list[float] = []
    for y, line in enumerate(lines):
        if not line.boxes:
            heading(axes, y, line.label, palette)
            continue
        words(axes, y, line)
        colour = palette.of(line.series)
        step = 0.72 / len(line.boxes)
        for number, process in enumerate(line.boxes):
            place = y - 0.36 + step * (number + 0.5)
            times += [*process.quantiles, *process.samples]
            singles += [(value, place) for value in process.samples]
            colours += [colour] * len(process.samples)
            if not process.quantiles:
                continue
            p5, p25, p50, p75, p95, *tail = process.quantiles
            strokes += [(place, p5, p95, colour, 0.9), (place, p25, p75, colour, max(1.6, min(4.0, 9 * step)))]
            middles.append((p50, place))
            tails += [(p99, place) for p99 in tail]
            rings += [colour] * len(tail)
    _strokes(axes, strokes)
    _dots(axes, singles, s=9, color=colours, linewidth=0, zorder=3)
    _dots(axes, middles, s=7, color=palette.ink, linewidth=0, zorder=3)
    _dots(axes, tails, s=9, facecolors="none", edgecolors=rings, linewidth=0.8, zorder=3)
    low, high = min(times) / 1.15, max(times) * 1.15
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_decades(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.plain_duration(value)))
    told = ["p5–p95, thick p25–p75, ● p50"] if strokes else []
    told += ["○ p99"] if tails else []
    told += ["coloured dots: single samples" if strokes else "● a sample each"] if singles else []
    axes.set_xlabel(f"latency of one iteration, process by process (log scale):  {', '.join(told)}")
    return figure


def shares(lines: Sequence[Line], key: Sequence[tuple[int, str]], palette: Palette) -> Figure:
    """A bar of full width per line, divided as its ``pieces`` divide their sum; ``key``: what each colour is."""
    figure, axes = _keyed(len(lines), key, palette)
    for y, line in enumerate(lines):
        total = sum(value for _, value in line.pieces)
        if not total:
            heading(axes, y, line.label, palette)
            continue
        words(axes, y, line)
        left = 0.0
        for series, value in line.pieces:
            width = 100 * value / total
            axes.barh(y, width, left=left, height=0.62, color=palette.of(series), edgecolor=palette.paper, linewidth=1)
            left += width
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    axes.set_xlabel("share of the iteration's stages; at the right their sum")
    return figure


def verdicts(lines: Sequence[Line], margin: float, palette: Palette) -> Figure:
    """Ratio b/a with its interval against the band of ``margin`` (0.03 is ±3 %) inside which nothing is new."""
    figure, axes = canvas(len(lines), palette, share=0.38)
    axes.axvspan(1 / (1 + margin), 1 + margin, color=palette.band, linewidth=0)
    axes.axvline(1, color=palette.ink, linewidth=1)
    found = _rated(axes, lines, palette)
    for y, line, ratio in found:
        colour = palette.of(line.series)
        if ratio.low is not None and ratio.high is not None:
            axes.hlines(y, ratio.low, ratio.high, colors=colour, linewidth=3.2)
        axes.scatter([ratio.estimate], [y], s=42, color=colour, linewidth=0, zorder=3)
    _reach(axes, [1 / (1 + margin), 1 + margin], found, palette)
    axes.set_xlabel(f"b slower  ←  speed of b / speed of a  →  b faster; band: margin of {numbers.percent(margin)}")
    return figure


@dataclass(frozen=True)
class Stroke:
    """One process on the time-line, in minutes since the first; ``lane`` counts rows; ``state`` is in ``STATES``."""

    lane: int
    start: float
    length: float
    state: str
    gid: str


#: What a process's colour on the time-line says (the words of ``labels.state_of``), and the series that it has;
#: hatched: nothing was measured.
STATES = {"quiet": 5, "noisy": 4, "contended": 3, "drift or throttled": 1, "not measured": -1}


def timeline(strokes: Sequence[Stroke], lanes: Sequence[str], palette: Palette) -> Figure:
    """One bar per process at the time when it ran, a row per environment and device."""
    figure, axes = _keyed(len(lanes), [(series, word) for word, series in STATES.items()], palette, 0.68, 0.34)
    for lane, label in enumerate(lanes):
        axes.text(-0.02, lane, plain(label), transform=axes.get_yaxis_transform(), ha="right", va="center")
    for one in strokes:
        series = STATES[one.state]
        bar = axes.barh(one.lane, one.length, left=one.start, height=0.62, **_fill(series, palette))
        bar.patches[0].set_gid(one.gid)
    end = max((one.start + one.length for one in strokes), default=1.0)
    axes.set_xlim(-0.01 * end, 1.01 * end)
    axes.set_xlabel("minutes since the first process started")
    return figure


def _rated(axes: Axes, lines: Sequence[Line], palette: Palette) -> list[tuple[float, Line, Interval]]:
    """Write the words of all lines; (row, line, interval) of those that are no headings."""
    found: list[tuple[float, Line, Interval]] = []
    for y, line in enumerate(lines):
        if line.interval is None:
            heading(axes, y, line.label, palette)
        else:
            words(axes, y, line)
            found.append((y, line, line.interval))
    return found


def _strokes(axes: Axes, rows: Sequence[tuple[float, float, float, str, float]]) -> None:
    """Horizontal lines (row, from, to, colour, width) as one artist: a group each would make pages twice as heavy."""
    if rows:
        y, start, end, colours, widths = zip(*rows, strict=True)
        axes.hlines(y, start, end, colors=colours, linewidth=widths, clip_on=False)


def _dots(axes: Axes, places: Sequence[tuple[float, float]], **look: Any) -> None:
    """Marks at (x, row) as one artist."""
    if places:
        x, y = zip(*places, strict=True)
        axes.scatter(x, y, clip_on=False, **look)


def _reach(
    axes: Axes, ratios: Sequence[float], found: Sequence[tuple[float, Line, Interval]], palette: Palette
) -> None:
    """The ratio axis of ``found`` and of other ``ratios``; arrows where an interval goes on beyond it."""
    shown = [*ratios, *(ratio.estimate for _, _, ratio in found)]
    floor, ceiling = min(shown) / REACH, max(shown) * REACH
    ends = [end for _, _, ratio in found for end in (ratio.low, ratio.high) if end is not None]
    ratio_axis(axes, [*shown, *(min(max(end, floor), ceiling) for end in ends)])
    left, right = axes.get_xlim()
    cut = [(left, y) for y, _, ratio in found if ratio.low is not None and ratio.low < left]
    _dots(axes, cut, marker=CARETLEFT, s=60, color=palette.ink, linewidth=0, zorder=3)
    cut = [(right, y) for y, _, ratio in found if ratio.high is not None and ratio.high > right]
    _dots(axes, cut, marker=CARETRIGHT, s=60, color=palette.ink, linewidth=0, zorder=3)


def _fill(series: int, palette: Palette) -> dict[str, Any]:
    """How a bar of a series is filled: below 0 it is an outline."""
    if series < 0:
        return {"facecolor": "none", "edgecolor": palette.bad, "linewidth": 1.2}
    return {"color": palette.of(series), "linewidth": 0}


def _keyed(
    rows: int, key: Sequence[tuple[int, str]], palette: Palette, share: float = 0.44, row: float = ROW
) -> tuple[Figure, Axes]:
    """A ``canvas`` under a key of its colours: in a paper no page stands around the figure to explain them."""
    places: list[tuple[float, int]] = []
    x, line = 0.2, 0
    for _, name in key:
        # Inches: a character is at most this wide.
        wide = 0.36 + 0.098 * len(name)
        if x + wide > WIDTH and x > 0.2:
            x, line = 0.2, line + 1
        places.append((x, line))
        x += wide
    figure, axes = canvas(rows, palette, share, row, HEAD + LINE * (line + 1) if key else HEAD)
    height = figure.get_figheight()
    for (series, name), (x, line) in zip(key, places, strict=True):
        middle = 1 - (HEAD / 2 + LINE * (line + 0.5)) / height
        corner = x / WIDTH, middle - 0.065 / height
        look = _fill(series, palette)
        figure.add_artist(Rectangle(corner, 0.13 / WIDTH, 0.13 / height, transform=figure.transFigure, **look))
        figure.text((x + 0.19) / WIDTH, middle, plain(name), va="center")
    return figure, axes


def canvas(
    rows: int, palette: Palette, share: float = 0.44, row: float = ROW, head: float = HEAD
) -> tuple[Figure, Axes]:
    """A figure with so many rows, labels left and texts right of a plot that takes ``share`` of the width."""
    height = head + row * rows + FOOT
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.30, FOOT / height, share, 1 - (head + FOOT) / height))
    _style(axes, rows - 0.4, -0.6, palette)
    return figure, axes


def _style(axes: Axes, low: float, high: float, palette: Palette) -> None:
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="x", color=palette.rule, linewidth=0.7)
    axes.set_axisbelow(True)


def words(axes: Axes, y: int, line: Line) -> None:
    """The label left of a row, its text right of it."""
    side = axes.get_yaxis_transform()
    axes.text(-0.02, y, plain(line.label), transform=side, ha="right", va="center")
    axes.text(1.03, y, plain(line.text), transform=side, ha="left", va="center")


def heading(axes: Axes, y: int, label: str, palette: Palette) -> None:
    """A row that names the next ones."""
    side = axes.get_yaxis_transform()
    axes.text(-0.62, y, plain(label), transform=side, va="center", color=palette.muted, weight="bold")


def ratio_axis(axes: Axes, ends: Sequence[float]) -> None:
    """A log axis for ratios, which reaches to all ``ends`` and a little beyond 1 on both sides."""
    low, high = min(*ends, 0.97) / 1.06, max(*ends, 1.03) * 1.06
    if high / low >= 2.5:
        low, high = min(low, 0.48), max(high, 2.1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    figure = axes.get_figure(root=True)
    assert figure is not None
    points = 72 * axes.get_position().width * figure.get_figwidth()
    ticks = next(found for found in _ratio_ticks(low, high) if len(found) <= max(2, points // TICK_ROOM))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ratio_tick(value)))


def _ratio_ticks(low: float, high: float) -> Iterator[list[float]]:
    """Ticks from ``low`` to ``high``, ever fewer; the last is 1× alone."""
    if high / low < 2.5:
        for step in (0.05, 0.1, 0.2, 0.5):
            yield [tick for place in range(-20, 40) if low <= (tick := 1 + step * place) <= high]
    base = 10.0 if high / low > 1e3 else 2.0
    for stride in range(1, 400):
        powers = range(-300 // stride * stride, 301, stride)
        yield [tick for power in powers if low <= (tick := base**power) <= high]
    yield [1.0]


def ratio_tick(value: float) -> str:
    """``1/32×``, ``0.95×``, ``8×``, ``10 k×``: an exact label, or no more digits than it has."""
    below = 1 / value
    if max(value, below) >= 1e15:
        return f"{value:.0e}×"
    if value >= 1e4:
        return f"{short(value)}×"
    if value <= 0.5 and abs(below - round(below)) < 1e-6 * below:
        return f"1/{short(round(below)) if below >= 1e4 else round(below)}×"
    return f"{value:,.0f}×" if value >= 10 else f"{value:.3g}×"


def _decades(low: float, high: float) -> list[float]:
    steps = (1,) if high / low > 300 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(-10, 5) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def short(value: float) -> str:
    """``2 k`` for 2000."""
    for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{prefix}"
    return f"{value:g}"
