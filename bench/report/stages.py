"""What one iteration is made of, and what it needs: stages, further rates, memory, layout, answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report import numbers
from bench.report.facts import by_work, speed, where, work_label
from bench.summary import CellSummary, Interval, Part

#: Which colour a stage has in every figure; moving data between host and device is grey. Others follow in turn.
COLOURS: Mapping[str, int] = {
    "preprocess": 1, "transfer": 5, "model": 0, "encode": 0, "first": 3, "next": 2, "fetch": 5, "postprocess": 4,
}  # fmt: skip


@dataclass(frozen=True)
class StagesRow:
    """One cell: a text per stage of the table, and the sum over its stages in seconds."""

    member: CellSummary
    cell: str
    times: tuple[str, ...]
    total_s: float

    @property
    def total(self) -> str:
        """The sum, for people."""
        return numbers.duration(self.total_s)


@dataclass(frozen=True)
class StagesTable:
    """One work: the names of its stages, and a row for each cell that was measured stage by stage."""

    label: str
    names: tuple[str, ...]
    rows: tuple[StagesRow, ...]


def stages_tables(summaries: Sequence[CellSummary]) -> list[StagesTable]:
    """One per work whose iterations have several stages."""
    found = []
    for work, members in by_work(summaries).items():
        split = [one for one in members if speed(one) is not None and len(one.parts) > 1]
        names = tuple(dict.fromkeys(name for one in split for name in one.parts))
        rows = tuple(
            StagesRow(
                one,
                where(one.cell),
                tuple(part_text(one.parts.get(name)) for name in names),
                sum(part.total_s for part in one.parts.values()),
            )
            for one in split
        )
        if rows:
            found.append(StagesTable(work_label(work), names, rows))
    return found


def part_text(part: Part | None) -> str:
    """``3.2 ms``, or ``31 × 9.5 ms`` for what is called several times; ``–`` where there is no such stage."""
    if part is None:
        return "–"
    each = numbers.duration(part.seconds)
    return each if part.calls == 1 else f"{part.calls} × {each}"


def colour(name: str, names: Sequence[str]) -> int:
    """The number of a stage's colour; the same name has the same one in every work that has the usual names."""
    return COLOURS.get(name, names.index(name))


def further_rates(one: CellSummary) -> list[tuple[str, Interval]]:
    """(unit, rate per second) of every unit but the headline; [] where the cell has no speed."""
    rate = speed(one)
    if rate is None or len(one.items) < 2:
        return []
    headline, *others = one.items.items()
    if headline[1] <= 0:
        return []
    return [(unit, scaled(rate, count / headline[1])) for unit, count in others]


def scaled(rate: Interval, factor: float) -> Interval:
    """The same interval in another unit."""
    low, high = (None if end is None else end * factor for end in (rate.low, rate.high))
    return Interval(rate.estimate * factor, low, high, rate.confidence)


def rates_text(one: CellSummary) -> str:
    """``25.7 tokens/s``, several by comma; "" where the headline is the only unit."""
    return ", ".join(f"{numbers.rate(rate)} {unit}/s" for unit, rate in further_rates(one))


@dataclass(frozen=True)
class DetailRow:
    """What else a cell has to say; "" where a fact does not apply."""

    cell: str
    rates: str
    peak: str
    device_memory: str
    energy: str
    layout: str
    answer: str


@dataclass(frozen=True)
class DetailTable:
    """One work. ``columns``: the attributes of its rows that at least one row has, with their headings."""

    label: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[DetailRow, ...]


HEADINGS = (("rates", "also"), ("peak", "peak memory"), ("device_memory", "memory of the device"),
            ("energy", "energy per item"), ("layout", "layout"), ("answer", "answer"))  # fmt: skip


def detail_tables(summaries: Sequence[CellSummary]) -> list[DetailTable]:
    """One per work of which a measured cell has more to say than its speed."""
    found = []
    for work, members in by_work(summaries).items():
        rows = [_detail(one) for one in members if speed(one) is not None]
        columns = tuple((name, heading) for name, heading in HEADINGS if any(getattr(row, name) for row in rows))
        if columns:
            found.append(DetailTable(work_label(work), columns, tuple(rows)))
    return found


def _detail(one: CellSummary) -> DetailRow:
    peak = "" if one.peak_rss_bytes is None else numbers.memory(one.peak_rss_bytes)
    return DetailRow(
        where(one.cell),
        rates_text(one),
        peak,
        device_memory_text(one),
        energy_text(one),
        one.layout or "",
        one.answer or "",
    )


def device_memory_text(one: CellSummary) -> str:
    """``812 MB peak, 1.1 GB reserved``; "" on a CPU, the reason where an accelerator's is not known."""
    found = one.device_memory
    if found is None:
        why = one.not_measured.get("device-memory", "")
        return f"not measured: {why}" if why and one.cell.device != "cpu" else ""
    kind = {"peak": "peak", "peak-since-start": "peak since start"}.get(found.kind, found.kind)
    held = "" if found.reserved_bytes is None else f", {numbers.memory(found.reserved_bytes)} reserved"
    return f"{numbers.memory(found.peak_bytes)} {kind}{held}"


def energy_text(one: CellSummary) -> str:
    """``12.1 mJ (gpu 10.0, cpu package-0 2.1)``; "" where nobody asked, the reason where it cannot be read."""
    if not one.item_joules:
        why = one.not_measured.get("energy", "")
        return f"not measured: {why}" if why else ""
    scale = numbers.joule_scale([sum(one.item_joules.values())])
    each = [f"{rail} {numbers.significant(value / scale.size, 3)}" for rail, value in one.item_joules.items()]
    total = numbers.significant(sum(one.item_joules.values()) / scale.size, 3)
    return f"{total} {scale.prefix} ({', '.join(each)})"
