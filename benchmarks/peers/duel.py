"""One line of the table: the fastest form of each side, then duets between those two, then a row of facts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.block import run_block
from bench.cell import Cell
from bench.compare import compare_duets
from bench.member import Context
from bench.plan import Block, Profile
from bench.record import Measured, Record
from bench.stats import Interval
from bench.store import Appender
from bench.summary import TAGS, CellSummary, process_sample, reason_of, summarise
from bench.verdict import Comparison
from benchmarks.peers.lines import Line

#: Short: a block costs two start-ups and two compilations anyway, and it is blocks that the interval counts.
PROFILE = Profile(
    name="peers", processes=1, bursts=8, burst_ns=400_000_000, warm_up_ns=3_000_000_000, latency_samples=3,
    latency_ns=500_000_000, bursts_ns=20_000_000_000, stage_samples=2, patience_ns=None,
)  # fmt: skip
#: Of each device: to choose the forms, and for the duets. A GPU does a hundred iterations in the time of one here.
PROFILES: Mapping[str, tuple[Profile, Profile]] = {
    device: (replace(profile, name=f"{profile.name}-screening", bursts=4, warm_up_ns=profile.warm_up_ns // 2), profile)
    for device, profile in (
        ("cpu", PROFILE),
        ("cuda", replace(PROFILE, name="peers-cuda", burst_ns=100_000_000, warm_up_ns=1_000_000_000)),
    )
}


@dataclass(frozen=True)
class Row:
    """What is written down of a line at one number of threads. Times are of one iteration, in ms.

    ``ratio`` is our speed over the peer's with its 95 % interval (low and high None with fewer than 3 blocks); None
    where there is no comparison, and ``detail`` says why. ``errors`` are the largest errors against the one reference.
    """

    line: str
    threads: int
    date: str
    verdict: str
    detail: str
    blocks: int
    peer: str
    ours: str
    peer_ms: float | None = None
    ours_ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peer_error: float | None = None
    ours_error: float | None = None
    limit: float | None = None
    candidates: tuple[tuple[str, float | None, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()


def duel(line: Line, blocks: int, screening: Context, dueling: Context, appender: Appender) -> Row:
    """The row of ``line``; whatever fails is in it."""
    found: list[Record] = []
    for cells in (line.peers(), line.ours()):
        found += _screened(line, cells, screening, appender)
    candidates = tuple((_form(cell), _ms(found, cell), _why(found, cell)) for cell in (*line.peers(), *line.ours()))
    peer, ours = _fastest(found, line.peers()), _fastest(found, line.ours())
    common: dict[str, Any] = {
        "line": line.name,
        "threads": dueling.threads,
        "date": datetime.now(UTC).date().isoformat(),
        "candidates": candidates,
        "peer": _form(peer) if peer else line.peer,
        "ours": _form(ours) if ours else line.framework,
    }
    if peer is None or ours is None:
        lacking = "; ".join(f"{form}: {why}" for form, ms, why in candidates if ms is None)
        return Row(**common, verdict="no comparison", detail=lacking, blocks=0, versions=_versions(found))
    records: list[Record] = []
    for number in range(blocks):
        made = run_block(Block((peer, ours), number), f"{line.name}-{dueling.threads}-{number:03d}", dueling)
        appender.append(made)
        records += made
    return _row(common, peer, ours, records)


def _screened(line: Line, cells: Sequence[Cell], screening: Context, appender: Appender) -> list[Record]:
    """One process for each candidate of one side, all alive at once; nothing to choose from is not measured."""
    if len(cells) == 1:
        return []
    name = f"{line.name}-{screening.threads}-{cells[0].environment}"
    records = run_block(Block(tuple(cells), 0), name, screening)
    appender.append(records)
    return records


def _row(common: dict[str, Any], peer: Cell, ours: Cell, records: Sequence[Record]) -> Row:
    comparison = _comparison(records, peer, ours)
    rows = {row.cell: row for row in summarise(records)}
    ratio: Interval | None = comparison.verdict.ratio if comparison else None
    detail = "; ".join((comparison.verdict.detail, *comparison.notes)) if comparison else "no block has both sides"
    return Row(
        **common,
        verdict=comparison.verdict.word if comparison else "no comparison",
        detail=detail,
        blocks=comparison.verdict.blocks if comparison else 0,
        peer_ms=_ms(records, peer),
        ours_ms=_ms(records, ours),
        ratio=ratio.estimate if ratio else None,
        low=ratio.low if ratio else None,
        high=ratio.high if ratio else None,
        peer_error=_error(rows.get(peer)),
        ours_error=_error(rows.get(ours)),
        limit=rows[ours].limit if ours in rows else None,
        versions=_versions(records),
    )


def _comparison(records: Sequence[Record], peer: Cell, ours: Cell) -> Comparison | None:
    """Of the pair, the peer as A: its record comes first in every block."""
    found = [one for one in compare_duets(records, clock="wall") if (one.cell_a, one.cell_b) == (peer, ours)]
    return found[0] if found else None


def _error(summary: CellSummary | None) -> float | None:
    return summary.error if summary else None


def _fastest(records: Sequence[Record], cells: Sequence[Cell]) -> Cell | None:
    """The one with the highest rate; the only one, where there is one; None where none was measured."""
    if len(cells) == 1:
        return cells[0]
    rated = [(ms, cell) for cell in cells if (ms := _ms(records, cell)) is not None]
    return min(rated)[1] if rated else None


def _ms(records: Sequence[Record], cell: Cell) -> float | None:
    """Milliseconds an iteration: the median over processes of the process medians."""
    times = []
    for record in records:
        if record.cell == cell and isinstance(record.outcome, Measured) and record.measurement:
            rate = process_sample(record).rate
            if rate:
                times.append(1e3 * record.measurement.items_per_iteration / rate)
    return statistics.median(times) if times else None


def _why(records: Sequence[Record], cell: Cell) -> str:
    """How it ended, where it was not measured; "" where it was, or was not screened."""
    ends = [record.outcome for record in records if record.cell == cell and not isinstance(record.outcome, Measured)]
    return f"{TAGS[type(ends[0])]}: {reason_of(ends[0])}" if ends else ""


def _form(cell: Cell) -> str:
    """``peer-yolov5 channels-last eager``."""
    variant = "" if cell.variant in ("default", "encoder") else f" {cell.variant}"
    return f"{cell.environment}{variant} {cell.mode}"


def _versions(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What was installed on both sides, ``environment:distribution`` and version, sorted."""
    found = {
        f"{record.cell.environment}:{name}": version
        for record in records
        for name, version in record.fingerprint.versions.items()
        if name != "python"
    }
    return tuple(sorted(found.items()))
