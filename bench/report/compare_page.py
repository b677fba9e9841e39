"""The compare page: two runs, the difference of their surroundings first, then cells by strength of evidence."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import __version__
from bench.cell import Cell
from bench.report import numbers, shown
from bench.report.differences import surroundings
from bench.report.facts import count
from bench.report.rendering import rendered
from bench.report.sections import ratio_text
from bench.report.weighing import NO_NUMBER, WORDS, by_strength, limit_sentence, needs
from bench.stats import GeometricMean
from bench.summary import CellSummary, Interval
from bench.verdict import LOOKS, Comparison

Rows = Mapping[Cell, CellSummary]
#: A bar is drawn on a strip of this size, in units of its own.
WIDTH, HEIGHT = 240.0, 30.0
#: The axis reaches at least so many margins to either side.
LEAST_MARGINS = 4


@dataclass(frozen=True)
class Compared:
    """Two sides and what was found. ``kind`` is ``stored``, or ``duet`` where both are sides of one live comparison."""

    a: str
    b: str
    rows_a: Sequence[CellSummary]
    rows_b: Sequence[CellSummary]
    comparisons: Sequence[Comparison]
    mean: GeometricMean
    margin: float
    session_sd: float
    across: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    title: str = ""
    looks: tuple[int, ...] = LOOKS

    @property
    def kind(self) -> str:
        return "duet" if self.a == self.b else "stored"


@dataclass(frozen=True)
class Bar:
    """Where things lie on the strip. ``low`` and ``high`` are None without an interval.

    ``cut``: whether the interval goes on beyond the left and the right edge; its end lies there then, with an arrow.
    """

    band: tuple[float, float]
    one: float
    at: float
    low: float | None
    high: float | None
    cut: tuple[bool, bool]

    @property
    def beyond(self) -> str:
        """What the arrows say, for who does not see them."""
        ends = {(True, True): "both ends", (True, False): "the left end", (False, True): "the right end"}
        return f"; the interval goes on beyond {ends[self.cut]}" if any(self.cut) else ""


@dataclass(frozen=True)
class Row:
    """One comparison as text, and its bar."""

    word: str
    cell: str
    against: str
    ratio: str
    wall: str
    bar: Bar
    p_value: str
    why: str
    needs: str
    notes: str
    speeds: str


def render(found: Compared) -> str:
    """The page."""
    return rendered("compare.html.j2", **values(found))


def values(found: Compared) -> dict[str, Any]:
    """All that the template needs; the Markdown is made from it, too."""
    order = by_strength(found.comparisons)
    a, b = ({row.cell: row for row in rows} for rows in (found.rows_a, found.rows_b))
    reach = _reach(order, found.margin)
    around = surroundings(found.rows_a, found.rows_b)
    counts = Counter(one.verdict.word for one in order)
    rows = [_row(one, a, b, found, reach) for one in order]
    stuck = any(row.needs.endswith(NO_NUMBER) for row in rows)
    return {
        "version": __version__,
        "title": found.title or title_of(found),
        "a": found.a,
        "b": found.b,
        "kind": found.kind,
        "headline": headline(counts, len(found.comparisons) - len(order), found.margin),
        "mean": mean_sentence(found.mean),
        "around": around,
        "rows": rows,
        "limit": limit_sentence(found.margin, found.session_sd) if stuck else "",
        "counts": {word: counts[word] for word in WORDS},
        "axis": (numbers.significant(math.exp(-reach), 2), numbers.significant(math.exp(reach), 2)),
        "margin": numbers.percent(found.margin),
        "left_out": left_out(found),
        "problems": found.problems,
        "command": command(found),
        "count": count,
        "height": HEIGHT,
        "width": WIDTH,
        "figures": shown.block(figures(found)),
    }


def title_of(found: Compared) -> str:
    """The title where none was given."""
    return f"twinbench: duets of {found.a}" if found.kind == "duet" else f"twinbench: {found.b} against {found.a}"


def figures(found: Compared) -> dict[str, Any]:
    """What the page shows, as data; with it, the page can be written again."""
    mean = found.mean.interval
    return {
        "kind": "compare",
        "twinbench": __version__,
        "runs": [found.a, found.b],
        "title": found.title,
        "margin": found.margin,
        "looks": list(found.looks),
        "session_sd": found.session_sd,
        "across": sorted(found.across),
        "comparisons": [shown.verdict(one) for one in by_strength(found.comparisons)],
        "mean": shown.of_interval("ratio", mean),
    }


def headline(counts: Counter[str], not_compared: int, margin: float) -> str:
    """How many cells of B are faster, slower, the same, or cannot be told, in a sentence."""
    compared = sum(counts.values())
    if not compared:
        return f"Nothing can be said: none of {count(not_compared, 'cell')} that both have could be compared."
    words = {
        "slower": "slower in {:,}",
        "faster": "faster in {:,}",
        "same": f"the same (within ±{numbers.percent(margin)}) in {{:,}}",
        "inconclusive": "not to be told from A in {:,}",
    }
    told = [words[word].format(counts[word]) for word in WORDS if counts[word]]
    rest = f"; {not_compared:,} could not be compared" if not_compared else ""
    return f"Of {count(compared, 'cell')}, B is {', '.join(told)}{rest}."


def mean_sentence(mean: GeometricMean) -> str:
    """The geometric mean over cells, what its interval holds, or "" where there is none."""
    if mean.interval is None:
        return ""
    within = numbers.times_span(mean.interval)
    return (
        f"Over {count(len(mean.included), 'cell')}, B has {numbers.times(mean.interval)} the speed of A as a geometric "
        f"mean{f' ({within}, {mean.meaning})' if within else ''}."
    )


def left_out(found: Compared) -> list[tuple[str, str]]:
    """(cell, why) of what has no ratio: refused, failed, or in one run only."""
    told = [
        (one.cell_b.label, one.verdict.detail or one.verdict.word)
        for one in found.comparisons
        if one.verdict.ratio is None
    ]
    return told + [(key.label, why) for key, why in found.mean.excluded if isinstance(key, Cell)]


def command(found: Compared) -> str:
    """What writes this page again."""
    words = ["twinbench", "report", "--compare", found.a, found.b, "--margin", f"{found.margin:g}"]
    if found.kind == "stored":
        words += ["--session-sd", f"{found.session_sd:g}"]
        words += [word for fact in sorted(found.across) for word in ("--across", fact)]
    return shlex.join(words)


def _row(one: Comparison, a: Rows, b: Rows, found: Compared, reach: float) -> Row:
    verdict = one.verdict
    assert verdict.ratio is not None
    same_cell = one.cell_a == one.cell_b
    lacks = needs(one, a, b, found.margin, found.session_sd)
    return Row(
        word=verdict.word,
        cell=one.cell_b.label,
        against="" if same_cell else one.cell_a.label,
        ratio=ratio_text(verdict.ratio),
        wall=ratio_text(one.wall) if one.clock != "wall" and one.wall is not None else "",
        bar=_bar(verdict.ratio, found.margin, reach),
        p_value="–" if verdict.p_value is None else _p_text(verdict.p_value),
        # What it would take says the rest of the detail better.
        why=verdict.detail.partition("; the interval crosses")[0] if lacks else verdict.detail,
        needs=lacks,
        notes="; ".join(note for note in one.notes if not note.startswith("advisory")),
        speeds=_speeds(a.get(one.cell_a), b.get(one.cell_b)),
    )


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def _speeds(a: CellSummary | None, b: CellSummary | None) -> str:
    """``48,200 → 51,000 samples/s``, in one unit; "" where a side has none."""
    rates = [one.throughput for one in (a, b) if one is not None and one.throughput is not None]
    if len(rates) < 2 or b is None:
        return ""
    scale = numbers.rate_scale(rate.estimate for rate in rates)
    shown_rates = " → ".join(numbers.rate(rate, scale) for rate in rates)
    return f"{shown_rates} {scale.prefix}{' ' if scale.prefix else ''}{b.item}/s"


def _reach(comparisons: Sequence[Comparison], margin: float) -> float:
    """The axis goes from exp(-reach) to exp(reach): every estimate, and the margin, lie on it."""
    logs = [abs(math.log(one.verdict.ratio.estimate)) for one in comparisons if one.verdict.ratio is not None]
    return 1.25 * max([LEAST_MARGINS * math.log1p(max(margin, 0.01)), *logs])


def _bar(ratio: Interval, margin: float, reach: float) -> Bar:
    def place(value: float) -> float:
        share = (math.log(value) / reach + 1) / 2 if value > 0 else 0.0
        return round(WIDTH * min(max(share, 0.0), 1.0), 1)

    low, high = (None if end is None else place(end) for end in (ratio.low, ratio.high))
    cut = (
        ratio.low is not None and (ratio.low <= 0 or math.log(ratio.low) < -reach),
        ratio.high is not None and ratio.high > 0 and math.log(ratio.high) > reach,
    )
    return Bar((place(1 / (1 + margin)), place(1 + margin)), place(1.0), place(ratio.estimate), low, high, cut)
