"""The figures of cells from the raw samples, by a second path; ``recheck`` holds a page against them.

NumPy and SciPy on whole arrays, and none of the arithmetic of ``summary``, ``stats`` or ``facts``. Taken over from
elsewhere are only choices: which lines of the store are records, how the reason of a failure reads, which labels make a
timing implausible or tell of noise, and which bursts the clock sentinel discards.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from bench import environments
from bench.cell import Cell
from bench.index import Glance
from bench.labels import disturbed, imported_from, plausible
from bench.record import Failed, Measured, Measurement, Outcome, Record, TimedOut, Unsupported, Wrong
from bench.report.raw_duets import ratio_of
from bench.sentinel import kept
from bench.summary import reason_of

Figures = dict[str, Any]
CONFIDENCE = 0.95
_OUTCOMES = {Unsupported: "unsupported", Wrong: "wrong", Failed: "failed", TimedOut: "timed_out"}


class Samples:
    """The records of some runs by cell, in the order in which they came."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.by_cell: dict[Cell, list[Record]] = {}
        self.by_block: dict[tuple[str, str], list[Record]] = {}
        for record in records:
            self.by_cell.setdefault(record.cell, []).append(record)
            self.by_block.setdefault((record.run, record.block), []).append(record)

    def outcome(self, cell: Cell) -> str:
        """How the cell ended: one wrong process is enough, one plausible measurement makes the rest unimportant."""
        records = self.by_cell[cell]
        if any(isinstance(one.outcome, Wrong) for one in records):
            return "wrong"
        measured = [one for one in records if isinstance(one.outcome, Measured)]
        if measured:
            return "measured" if self.log_rates(cell).size else "implausible"
        return commonest([one.outcome for one in records])

    def is_imported(self, cell: Cell) -> bool:
        """Whether another tool measured it."""
        return any(imported_from(one.labels) is not None for one in self.by_cell[cell])

    def used(self, cell: Cell) -> list[Measurement]:
        """The measurements in the estimate."""
        return [
            one.measurement
            for one in self.by_cell[cell]
            if isinstance(one.outcome, Measured) and one.measurement is not None
            and plausible(one.labels) and min(one.measurement.bursts.wall_ns) > 0
        ]  # fmt: skip

    def log_rates(self, cell: Cell) -> Any:
        """log of items per second, one a process."""
        return np.array([-_median_log_s(one, "wall_ns") for one in self.used(cell)])


def commonest(outcomes: Sequence[Outcome]) -> str:
    """Of a cell that nobody measured: the word of the outcome, with its reason, that came up most often."""
    return Counter((_OUTCOMES[type(one)], reason_of(one)) for one in outcomes).most_common(1)[0][0][0]


def _median_log_s(one: Measurement, clock: str) -> float:
    """log of seconds an item: the median burst of a process."""
    each = np.array(getattr(one.bursts, clock), dtype=float) / np.array(one.bursts.iterations, dtype=float)
    return float(np.log(np.median(each[kept(one)]) * 1e-9 / one.items_per_iteration))


def t_interval(logs: Any, confidence: float = CONFIDENCE) -> tuple[float, float | None, float | None]:
    """(estimate, low, high) of exp(mean log) by Student's t; a single value has no interval."""
    from scipy import stats

    if logs.size < 2:
        return math.exp(logs.mean()), None, None
    error = stats.sem(logs)
    if not error:  # no scatter at all
        return (math.exp(logs.mean()),) * 3
    low, high = stats.t.interval(confidence, logs.size - 1, loc=logs.mean(), scale=error)
    return math.exp(logs.mean()), math.exp(min(low, 700.0)), math.exp(min(high, 700.0))


def cells(samples: Samples, baseline: str) -> dict[str, Figures]:
    """Cell id -> figures, under the names of ``shown.cell``."""
    outcomes = {cell: samples.outcome(cell) for cell in samples.by_cell}
    rates = {cell: t_interval(samples.log_rates(cell)) for cell, word in outcomes.items() if word == "measured"}
    # Nobody verified what was imported: it is a baseline only where there is no other.
    bases = _baselines(sorted(rates, key=lambda cell: (samples.is_imported(cell), cell)), baseline)
    found = {}
    for cell, outcome in outcomes.items():
        figures = _checks(samples.by_cell[cell], outcome)
        figures |= {"label": cell.label, "outcome": outcome, "attempted": len(samples.by_cell[cell]),
                    "processes": len(samples.used(cell)) if cell in rates else 0}  # fmt: skip
        figures |= _medians(samples, cell, outcome)
        if cell in rates:
            figures |= named("items_per_s", rates[cell])
            for name, other in (("over_baseline", bases.get(cell.work)), ("over_cpu", _on_cpu(cell))):
                if other is not None and other != cell and other in rates:
                    figures |= named(name, _ratio(rates[cell], rates[other]))
        found[cell.id] = {name: value for name, value in figures.items() if value is not None}
    return found


def named(name: str, ends: tuple[float, float | None, float | None]) -> Figures:
    """``name``, ``name_low`` and ``name_high``."""
    return {key: end for key, end in zip((name, f"{name}_low", f"{name}_high"), ends, strict=True) if end is not None}


def _baselines(measured: Sequence[Cell], pattern: str) -> dict[tuple[Any, ...], Cell]:
    """Work -> its baseline: the first measured cell that fits, without a pattern torch's, else the first measured."""
    found: dict[tuple[Any, ...], Cell] = {}
    parts = (pattern or "torch/cpu/fp32/eager").split("/")
    for wanted in (True, False):
        for cell in measured:
            words = (cell.environment, cell.device, cell.precision, cell.mode)
            fits = len(parts) <= 4 and all(
                fnmatchcase(word, part or "*") for word, part in zip(words, parts, strict=False)
            )
            if fits if wanted else not pattern:
                found.setdefault(cell.work, cell)
    return found


def _on_cpu(cell: Cell) -> Cell | None:
    return None if cell.device == "cpu" else environments.cpu_twin(cell)


def _ratio(of: tuple[Any, ...], to: tuple[Any, ...]) -> tuple[float, float | None, float | None]:
    """The variance-recovery interval of a ratio, on logs."""
    if None in of or None in to:
        return of[0] / to[0], None, None
    (e1, l1, u1), (e2, l2, u2) = np.log(of), np.log(to)
    low = e1 - e2 - math.sqrt((e1 - l1) ** 2 + (u2 - e2) ** 2)
    high = e1 - e2 + math.sqrt((u1 - e1) ** 2 + (e2 - l2) ** 2)
    return math.exp(e1 - e2), math.exp(low), math.exp(high)


def _checks(records: Sequence[Record], outcome: str) -> Figures:
    """Error and limit of the worst process: of the wrong ones if there are any, else of the measured ones."""
    pairs: list[tuple[float | None, float]] = []
    for one in records:
        if isinstance(one.outcome, Wrong) and outcome == "wrong":
            pairs.append((one.outcome.error, one.outcome.limit))
        elif isinstance(one.outcome, Measured) and outcome != "wrong" and one.verification is not None:
            pairs.append((one.verification.error, one.verification.limit))
    if not pairs:
        return {}
    # No number is worse than any number; of equals the last, as a later one takes over.
    error, limit = max(reversed(pairs), key=lambda pair: math.inf if pair[0] is None else pair[0])
    error, limit = next((pair for pair in pairs if pair[0] is None), (error, limit))
    return {"error": error, "limit": limit}


def _medians(samples: Samples, cell: Cell, outcome: str) -> Figures:
    """Latency over all samples; medians over processes: start-up, stages, memory, energy; and the labels."""
    records = samples.by_cell[cell]
    measured = [one.measurement for one in records if isinstance(one.outcome, Measured) and one.measurement is not None]
    found: Figures = {
        f"label_{label}": n for label, n in Counter(word for one in records for word in one.labels).items()
    }
    peaks = [one.peak_rss_bytes for one in measured if one.peak_rss_bytes is not None]
    devices = [one.device_memory.peak_bytes for one in measured if one.device_memory is not None]
    found["peak_rss_bytes"] = round(float(np.median(peaks))) if peaks else None
    found["device_memory_bytes"] = max(devices, default=None)
    if outcome != "measured":
        return found
    timed = [one.latency_ns for one in samples.used(cell) if one.latency_ns and min(one.latency_ns) > 0]
    if timed:
        pool = np.concatenate([np.asarray(one, dtype=float) for one in timed])
        enough = [percent for percent in (50, 90, 99) if percent == 50 or pool.size * (100 - percent) >= 100]
        found |= {f"latency_p{percent}_s": float(np.percentile(pool, percent)) / 1e9 for percent in enough}
        found["latency_samples"] = int(pool.size)
    start_up = _columns((one.stages_ns for one in records), 1e-9)
    found |= {f"start_up_{stage}_s": float(np.median(values)) for stage, values in start_up.items()}
    timed_stages = ({k: np.median(v) for k, v in one.stages_ns.items() if v and min(v) >= 0} for one in measured)
    found |= {f"stage_{stage}_s": float(np.median(v)) for stage, v in _columns(timed_stages, 1e-9).items()}
    used = (
        {
            rail: joules / (one.energy.iterations * one.items_per_iteration)
            for rail, joules in one.energy.rails_joules.items()
        }
        for one in measured
        if one.energy is not None and one.energy.iterations > 0
    )
    found |= {f"joules_per_item_{rail}": float(np.median(values)) for rail, values in _columns(used, 1.0).items()}
    return found


def _columns(rows: Iterable[Mapping[str, Any]], scale: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(float(value) * scale)
    return found


def accelerations(figures: Mapping[str, Figures], samples: Samples) -> dict[str, Figures]:
    """Device -> geometric mean of ``over_cpu``, how many cells it is over, and its range."""
    found = {}
    cells_here = {cell for cell in samples.by_cell if not samples.is_imported(cell)}
    for device in sorted({cell.device for cell in cells_here} - {"cpu"}):
        ids = [cell.id for cell in samples.by_cell if cell.device == device and {cell, _on_cpu(cell)} <= cells_here]
        gains = np.array([figures[one]["over_cpu"] for one in ids if "over_cpu" in figures[one]])
        if gains.size:
            gain = float(np.exp(np.log(gains).mean()))
            found[device] = {
                "gain": gain,
                "pairs": int(gains.size),
                "low": float(gains.min()),
                "high": float(gains.max()),
            }
    return found


def duet(samples: Samples, a: str, b: str, shown: Mapping[str, Any]) -> Figures:
    """Ratio and interval of the pair of cells with these ids, by the choices in ``shown``: see ``raw_duets``."""
    if "ratio" not in shown:
        return {}
    ends, blocks = ratio_of(list(samples.by_block.values()), a, b, shown)
    return {} if ends is None else {**named("ratio", ends), "blocks": blocks}


def stored(a: Samples, b: Samples, cell: Cell, between_session_sd: float) -> Figures:
    """Ratio and interval of a cell of two runs: Welch's t, plus twice the variance between sessions."""
    from scipy import stats

    ones, others = a.log_rates(cell), b.log_rates(cell)
    difference = float(others.mean() - ones.mean())
    if min(ones.size, others.size) < 2:
        return {"ratio": math.exp(difference)}
    parts = [stats.sem(ones) ** 2, stats.sem(others) ** 2]
    variance = sum(parts) + 2 * between_session_sd**2
    spread = parts[0] ** 2 / (ones.size - 1) + parts[1] ** 2 / (others.size - 1)
    df = variance**2 / spread if spread > 0 else ones.size + others.size - 2
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * math.sqrt(variance)
    return named("ratio", (math.exp(difference), math.exp(difference - half), math.exp(min(difference + half, 700.0))))


def index(records: Iterable[Glance]) -> Figures:
    """How the cells of a run ended, and how many processes it has."""
    by_cell: dict[Cell, list[Glance]] = {}
    processes = noisy = 0
    for one in records:
        processes += 1
        noisy += isinstance(one.outcome, Measured) and disturbed("measured", one.labels)
        by_cell.setdefault(one.cell, []).append(one)
    counts = Counter(map(_ended, by_cell.values()))
    return {**{f"cells_{word}": number for word, number in counts.items()}, "processes": processes, "noisy": noisy}


def _ended(records: Sequence[Glance]) -> str:
    outcomes = [one.outcome for one in records]
    if any(isinstance(one, Wrong) for one in outcomes):
        return "wrong"
    if any(isinstance(one, Measured) for one in outcomes):
        return "measured" if any(one.is_timed for one in records) else "implausible"
    return commonest(outcomes)
