"""Drawings as a reader gets them: no label runs into the next, and what a label says is what the tick is."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from bench.report import figures
from bench.report.figures import STATES, Line, Stroke
from bench.report.ink import PAPER
from bench.summary import Interval

AXIS = "slower than the baseline  ←  1×  →  faster (log scale); large: geometric mean, small: single works"
SPANS = [
    (0.99, 1.01),
    (0.8, 1.1),
    (0.7, 1.2),
    (0.6, 1.4),
    (0.5, 1.2),
    (0.4, 1.9),
    (1 / 41, 2.5),
    (1 / 900, 1),
    (0.3, 64),
]
WIDE_SPANS = [(1e-4, 1), (1, 3e5), (1e-9, 1e9), (1e-30, 1e30)]


def rows(low: float, high: float) -> list[Line]:
    return [
        Line("a heading"),
        Line("torch/cpu fp16 eager", Interval(low, low, low), "0.32× (0.19–0.53×), n = 2", 0, (low, high)),
        Line("tensorflow/cuda bf16 compiled", Interval(high, high, high), "0.49× (0.34–0.72×), n = 3", 1, (low, high)),
    ]


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # type: ignore[no-untyped-call, unused-ignore]
    return figure


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Neighbouring labels of the x axis that touch: less than 3 points between them."""
    (axes,) = figure.axes
    labels = [one for one in axes.get_xticklabels() if one.get_text()]
    boxes = [one.get_window_extent() for one in labels]
    gap = 3 * figure.dpi / 72
    return [
        (a.get_text(), b.get_text())
        for (a, left), (b, right) in pairwise(zip(labels, boxes, strict=True))
        if right.x0 - left.x1 < gap
    ]


@pytest.mark.parametrize("draw", [figures.gains, figures.narrow_gains])
@pytest.mark.parametrize("span", SPANS + WIDE_SPANS)
def test_ratio_labels_stand_apart(draw: type[Figure], span: tuple[float, float]) -> None:
    figure = drawn(draw(rows(*span), AXIS, PAPER))  # type: ignore[arg-type, call-arg]
    (axes,) = figure.axes
    assert any(one.get_text() == "1×" for one in axes.get_xticklabels())
    assert overlaps(figure) == []


def test_the_check_of_labels_can_fail() -> None:
    figure = figures.gains(rows(1 / 41, 2.5), AXIS, PAPER)
    figure.axes[0].set_xticks([2.0**power for power in range(-5, 2)], [f"{2.0**power:.4f}×" for power in range(-5, 2)])
    assert overlaps(drawn(figure))


def test_ratio_labels_are_exact() -> None:
    """``0.0312×`` was a rounded 1/32."""
    for span in SPANS:
        (axes,) = drawn(figures.gains(rows(*span), AXIS, PAPER)).axes
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
            assert float(Fraction(label.get_text().removesuffix("×").replace(",", ""))) == pytest.approx(tick, 1e-9)
    assert [figures.ratio_tick(one) for one in (1 / 32, 0.95, 8, 1024, 1e5, 1e-5)] == [
        "1/32×", "0.95×", "8×", "1,024×", "100 k×", "1/100 k×",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "draw", [figures.gains, figures.narrow_gains, lambda rows, _, ink: figures.verdicts(rows, 0.03, ink)]
)
def test_an_interval_of_two_blocks_does_not_press_the_others_into_a_point(draw: Any) -> None:
    """The axis stays near the ratios, and an arrow says on which side an interval goes on."""
    close = Line("told", Interval(1.3, 1.27, 1.33), "faster")
    for low, high, left, right in ((1e-8, 1e8, 1, 1), (1.0, 1e8, 0, 1), (1e-8, 1.3, 1, 0), (1.1, 1.4, 0, 0)):
        (axes,) = drawn(draw([close, Line("two blocks", Interval(1.2, low, high), "inconclusive")], AXIS, PAPER)).axes
        start, end = axes.get_xlim()
        assert 0.2 < start < 1 < end < 6
        (y,) = {place for marks in arrows(axes) for _, place in marks} or {None}
        assert (y is None) == (not left and not right)
        assert [[x for x, _ in marks] for marks in arrows(axes)] == [[start]] * left + [[end]] * right


def arrows(axes: Any) -> list[Any]:
    """The places of each artist that draws outside of the axes, as only arrows may."""
    return [np.asarray(one.get_offsets()).tolist() for one in axes.collections if not one.get_clip_on()]


def test_a_phone_gets_words_above_marks_within_the_figure() -> None:
    """No word leaves the narrow figure, and no mark lies under one."""
    figure = drawn(figures.narrow_gains(rows(1 / 41, 2.5), AXIS, PAPER))
    (axes,) = figure.axes
    whole = figure.bbox
    for one in [*axes.texts, axes.xaxis.label]:
        box = one.get_window_extent()
        assert box.x0 >= whole.x0 - 1, one.get_text()
        assert box.x1 <= whole.x1 + 1, one.get_text()
    heights = [
        axes.transData.transform(place)[1] for marks in axes.collections for place in np.asarray(marks.get_offsets())
    ]
    boxes = [one.get_window_extent() for one in axes.texts]
    assert not [y for y in heights for box in boxes if box.y0 < y < box.y1]


def test_figures_for_papers_explain_their_colours() -> None:
    """Beside each word of the key its colour; words neither meet nor leave the figure."""
    stages = [(series, f"stage {series} of many") for series in range(9)]
    bar = Line("torch/cpu eager", text="3 ms", pieces=tuple((series, 1.0) for series, _ in stages))
    states = [(series, word) for word, series in STATES.items()]
    stroke = Stroke(0, 0.0, 1.0, "noisy", "process-0")
    for figure, key in (
        (figures.shares([bar], stages, PAPER), stages),
        (figures.timeline([stroke], ["torch/cpu"], PAPER), states),
    ):
        drawn(figure)
        assert [one.get_text() for one in figure.texts] == [word for _, word in key]
        colours = [PAPER.bad if series < 0 else PAPER.of(series) for series, _ in key]
        marks: list[Any] = [*(figure.artists or figure.patches)]
        look = [
            one.get_edgecolor() if series < 0 else one.get_facecolor()
            for one, (series, _) in zip(marks, key, strict=True)
        ]
        assert [to_hex(one) for one in look] == colours
        boxes = [one.get_window_extent() for one in figure.texts]
        assert all(box.x1 <= figure.bbox.x1 for box in boxes)
        assert not [1 for a, b in pairwise(boxes) if a.overlaps(b)]
        assert min(box.y0 for box in boxes) > figure.axes[0].bbox.y1 - 0.3 * figures.ROW * figure.dpi
