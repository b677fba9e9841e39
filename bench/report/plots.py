"""The charts over a measured axis: precision (speed against error), crossover, roofline. No drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.report import numbers
from bench.report.charts import LEAST, MOST, Chart, Point, Series, drawable, sane
from bench.report.evidence import Process
from bench.report.facts import by_work, place, precision_order, speed, where, work_label
from bench.report.scaling import Scaling
from bench.summary import CellSummary

#: The precision of a colour: the same in every work.
PRECISION_COLOURS: Mapping[str, int] = {"fp32": 0, "tf32": 4, "fp16": 1, "bf16": 2, "amp-fp16": 3, "amp-bf16": 5}
#: Smaller errors than this are drawn here: a log axis has no zero.
SMALLEST_ERROR = 1e-9


@dataclass(frozen=True)
class Plot:
    """A chart with the heading it stands under, and what has to be said below it."""

    label: str
    chart: Chart
    notes: tuple[str, ...] = ()


def tradeoffs(summaries: Sequence[CellSummary]) -> list[Plot]:
    """Speed against error, one chart per work that has two cells with an error; wrong cells stand on the floor."""
    found = []
    for index, (work, members) in enumerate(by_work(summaries).items()):
        series = _tradeoff_series(members)
        if drawable(series) and sum(len(one.points) for one in series) > 1:
            unit = next((one.item for one in members if one.item), "items")
            chart = Chart(
                f"work-{index}-precision",
                f"Speed against error on {work_label(work)}; the parity table has the errors",
                "error against the reference (log scale)",
                f"{unit}/s (log scale)",
                tuple(series),
            )
            wrong = sum(len(one.points) for one in series if one.wrong)
            note = (
                f"{wrong} wrong: crosses on the floor of the chart, at their error; they have no speed."
                if wrong
                else ""
            )
            zero = any(one.error == 0 for one in members)
            notes = (note, f"Errors of 0 stand at {SMALLEST_ERROR:g}." if zero else "")
            found.append(Plot(work_label(work), chart, tuple(filter(None, notes))))
    return found


def _tradeoff_series(members: Sequence[CellSummary]) -> list[Series]:
    by_precision: dict[str, list[Point]] = {}
    wrong: list[Point] = []
    for one in members:
        if one.error is None or one.limit is None:
            continue
        x = max(one.error, SMALLEST_ERROR)
        rate = speed(one)
        limits = f"error {numbers.error(one.error)}, limit {numbers.error(one.limit)}"
        if rate is not None:
            text = f"{where(one.cell)}: {numbers.rate(rate)} {one.item}/s {numbers.spread(rate)}, {limits}"
            point = Point(x, rate.estimate, rate.low, rate.high, text)
            by_precision.setdefault(one.cell.precision, []).append(point)
        elif one.outcome == "wrong":
            wrong.append(Point(x, 1.0, None, None, f"{where(one.cell)}: wrong, {limits}"))
    series = [
        Series(name, PRECISION_COLOURS.get(name, 5), sane(by_precision[name]))
        for name in sorted(by_precision, key=precision_order)
    ]
    series.append(Series("wrong", 1, sane(wrong), wrong=True))
    return [one for one in series if one.points]


def scaled(shown: Scaling, series: Mapping[str, int], index: int) -> Chart:
    """The curves of one scaling; CPUs dashed, thin lines where one overtakes another."""
    curves = []
    for curve in shown.curves:
        points = sane(
            Point(
                place, rate.estimate, rate.low, rate.high, f"{numbers.rate(rate)} {shown.unit} {numbers.spread(rate)}"
            )
            for place, rate in curve.points
        )
        end = f" ({curve.end})" if curve.end else ""
        colour = series[curve.environment]
        if points:
            curves.append(Series(f"{curve.label}{end}", colour, points, line=True, dashed=curve.device == "cpu"))
    return Chart(
        f"scaling-{index}",
        f"Throughput by {shown.axis} of {shown.label}; the table below has the numbers",
        "batch (log scale)" if shown.axis == "batch" else "size",
        f"{shown.unit} (log scale)",
        tuple(curves),
        "log2" if shown.axis == "batch" else "linear",
        shown.ticks,
        tuple(crossing.at for crossing in shown.crossovers if crossing.at is not None),
    )


def rooflines(summaries: Sequence[CellSummary], processes: Sequence[Process], series: Mapping[str, int]) -> list[Plot]:
    """One chart per environment and device: what cells achieved, under the best that their own processes measured.

    Environments share no ceiling: a matrix product of one may be twice that of another on the same device.
    """
    shown = {one.cell: one for one in summaries if speed(one) is not None}
    places: dict[tuple[str, str], list[Process]] = {}
    for one in processes:
        if one.cell in shown and one.intensity and one.flops_per_s:
            places.setdefault((one.cell.device, one.cell.environment), []).append(one)
    found: list[Plot] = []
    for (_, environment), members in sorted(places.items()):
        label = place(members[0].cell)
        roofs = _roofs(members, series[environment])
        achieved = _achieved(members, series)
        if not drawable(roofs) or not drawable(achieved):
            continue
        chart = Chart(
            f"roofline-{len(found)}",
            f"Achieved FLOP/s against ceilings measured by {label}; the table below has the numbers",
            "FLOP per byte of the workload (log scale)",
            "FLOP/s (log scale)",
            (*roofs, *achieved),
        )
        found.append(Plot(label, chart))
    return found


def _roofs(members: Sequence[Process], colour: int) -> list[Series]:
    """Of processes of one environment, whose points have this ``colour``: the best of them at each place.

    min(matrix product, FLOP per byte x copy) over the intensities that occur, for each precision's product.
    """
    copy = max((one.copy_bytes_per_s for one in members if one.copy_bytes_per_s), default=None)
    products: dict[str, float] = {}
    for one in members:
        for name, rate in one.ceilings.items():
            products[name] = max(rate, products.get(name, 0.0))
    places = [one.intensity for one in members if one.intensity and LEAST < one.intensity < MOST]
    if not places:
        return []
    low, high = min(places) / 2, max(places) * 2
    # Products that read the same are one line: the upper would hide the lower.
    alike: dict[str, list[tuple[str, float]]] = {}
    for name, product in sorted(products.items(), key=lambda pair: precision_order(pair[0])):
        alike.setdefault(numbers.significant(product / 1e9, 3), []).append((name, product))
    roofs = []
    for number, equals in enumerate(alike.values()):
        product = max(rate for _, rate in equals)
        knee = product / copy if copy else low
        xs = sorted({low, high, *([knee] if low < knee < high else [])})
        points = sane(
            Point(x, y, None, None, f"{numbers.significant(y / 1e9, 3)} GFLOP/s")
            for x in xs
            for y in [min(product, x * copy) if copy else product]
        )
        names = ["best" if name == "fastest" else name for name, _ in equals]
        label = f"{names[0]} product" if len(names) == 1 else "/".join(names)
        others = [one for one in (5, 4, 3, 2, 1, 0) if one != colour % 6]
        roofs.append(Series(f"measured: {label}", others[number % 5], points, line=True, bare=True))
    return roofs


def _achieved(members: Sequence[Process], series: Mapping[str, int]) -> list[Series]:
    """A point per cell (the mean over its processes), a series per environment."""
    cells: dict[tuple[str, str], list[Process]] = {}
    for one in members:
        cells.setdefault((one.cell.environment, one.cell.id), []).append(one)
    points: dict[str, list[Point]] = {}
    for (environment, _), alike in cells.items():
        rate = sum(one.flops_per_s or 0 for one in alike) / len(alike)
        x = alike[0].intensity or 1.0
        text = f"{alike[0].cell.label}: {numbers.significant(rate / 1e9, 3)} GFLOP/s"
        points.setdefault(environment, []).append(Point(x, rate, None, None, text))
    return [
        Series(environment, series[environment], kept) for environment, each in points.items() if (kept := sane(each))
    ]


@dataclass(frozen=True)
class RoofRow:
    """One cell under its ceilings; ``share`` of the lower one that its own processes measured."""

    cell: str
    achieved: str
    intensity: str
    product: str
    copy: str
    share: str


def roof_rows(summaries: Sequence[CellSummary], processes: Sequence[Process]) -> list[RoofRow]:
    """One row per measured cell whose work is counted, in the order of the cells' words."""
    shown = {one.cell for one in summaries if speed(one) is not None}
    cells: dict[Cell, list[Process]] = {}
    for one in processes:
        if one.cell in shown and one.intensity and one.flops_per_s:
            cells.setdefault(one.cell, []).append(one)
    rows = []
    for _, alike in sorted(cells.items()):
        first = alike[0]
        rate = sum(one.flops_per_s or 0 for one in alike) / len(alike)
        product = max((max(one.ceilings.values()) for one in alike if one.ceilings), default=None)
        copy = max((one.copy_bytes_per_s for one in alike if one.copy_bytes_per_s), default=None)
        ceilings = [product, copy * first.intensity if copy and first.intensity else None]
        lowest = min((one for one in ceilings if one), default=None)
        rows.append(
            RoofRow(
                first.cell.label,
                f"{numbers.significant(rate / 1e9, 3)}",
                f"{numbers.significant(first.intensity or 0, 3)}",
                "not measured" if product is None else numbers.significant(product / 1e9, 3),
                "not measured" if copy is None else numbers.significant(copy / 1e9, 3),
                "–" if lowest is None else numbers.percent(rate / lowest),
            )
        )
    return rows
