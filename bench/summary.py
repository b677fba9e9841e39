"""Records in, one row per cell out: what tables, reports and comparisons read. Pure; raw samples are dropped early."""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.cell import Cell
from bench.labels import imported_from, plausible, state_of
from bench.record import (
    DeviceMemory,
    EffectivePrecision,
    Failed,
    Fingerprint,
    Measured,
    Measurement,
    Outcome,
    Record,
    TimedOut,
    Unsupported,
    Wrong,
)
from bench.sentinel import kept
from bench.stats import Interval as Interval
from bench.stats import interval, percentiles

#: A percentile, and the fewest samples from which it is told: one of them is expected to lie beyond it.
LEAST_SAMPLES = {50: 1, 90: 10, 99: 100}
#: p50, p90 and p99 in seconds; None where there were fewer samples than ``LEAST_SAMPLES`` asks for.
Latency = tuple[float, float | None, float | None]

#: Tags of the outcomes, as in the records.
TAGS = {Measured: "measured", Unsupported: "unsupported", Wrong: "wrong", Failed: "failed", TimedOut: "timed_out"}


@dataclass(frozen=True)
class Part:
    """One named stage of an iteration: how long a call of it takes, and how many calls an iteration makes."""

    seconds: float
    calls: int

    @property
    def total_s(self) -> float:
        """Its time within one iteration."""
        return self.seconds * self.calls


@dataclass(frozen=True)
class ProcessSample:
    """One record reduced to what statistics need; about 0.5 KB, so that 100,000 fit in memory.

    Times in seconds. ``rate`` is items per second: the process median over bursts. ``outcome`` is the tag of the
    record's outcome, ``reason`` its text for people ("" when measured). ``plausible`` is False when a validity check
    (fence, scaling, roofline) says that the timing cannot be true; such samples never enter an estimate.
    """

    cell: Cell
    run: str
    block: str
    process: int
    started_at: str
    outcome: str
    reason: str
    plausible: bool
    rate: float | None
    cpu_rate: float | None
    error: float | None
    limit: float | None
    producer: str | None
    effective_precision: str | None
    stages_s: Mapping[str, float]
    labels: tuple[str, ...]
    log_tail: str


@dataclass(frozen=True)
class CellSummary:
    """One cell of the grid.

    ``outcome``: ``wrong`` if any process was wrong (then no speed at all), else ``measured`` if any was measured
    plausibly, else ``implausible`` if any was measured, else the commonest failure. ``processes`` counts the samples in
    the estimate, ``attempted`` all records. ``latency_s`` is (p50, p90, p99) of the samples of these
    processes together, ``latency_samples`` how many they are.
    ``stages_s`` is the median by stage of start-up. ``labels`` counts records by label. ``parts`` are the stages of an
    iteration, fenced apart (their sum is more than an iteration takes where stages overlap), ``items`` every unit and
    its count per iteration, the headline first; ``peak_rss_bytes`` the median over processes.
    ``effective`` is what matrix products of its precision were measured to be, ``gemm_rates_flops_per_s`` the best of
    them over processes, by precision.
    """

    cell: Cell
    outcome: str
    reason: str
    item: str
    processes: int
    attempted: int
    throughput: Interval | None
    latency_s: Latency | None
    error: float | None
    limit: float | None
    producer: str | None
    tolerance_reason: str
    effective_precision: str | None
    stages_s: Mapping[str, float]
    labels: Mapping[str, int]
    rates: tuple[float, ...] = ()
    log_tail: str = ""
    fingerprint: Fingerprint | None = field(default=None, compare=False)
    items: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    layout: str | None = None
    answer: str | None = None
    device_memory: DeviceMemory | None = None
    #: Joules per item by rail of the machine, the median over processes; {} where it was not measured.
    item_joules: Mapping[str, float] = field(default_factory=dict)
    #: Separate pass -> why it gave nothing.
    not_measured: Mapping[str, str] = field(default_factory=dict)
    effective: EffectivePrecision | None = None
    gemm_rates_flops_per_s: Mapping[str, float] = field(default_factory=dict)
    latency_samples: int = 0
    #: Processes by how quiet the machine was: the words of ``labels.state_of``.
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def imported(self) -> str | None:
        """The tool that measured it, where that was not twinbench: nobody here verified it."""
        return imported_from(self.labels)


def process_sample(record: Record) -> ProcessSample:
    """One record reduced to a few numbers; labels are taken as they were written, not judged anew."""
    measurement = record.measurement if isinstance(record.outcome, Measured) else None
    error, limit = _error_and_limit(record)
    return ProcessSample(
        cell=record.cell,
        run=record.run,
        block=record.block,
        process=record.process,
        started_at=record.started_at,
        outcome=TAGS[type(record.outcome)],
        reason=reason_of(record.outcome),
        plausible=plausible(record.labels),
        rate=_rate(measurement, measurement.bursts.wall_ns) if measurement else None,
        cpu_rate=_rate(measurement, measurement.bursts.cpu_ns) if measurement else None,
        error=error,
        limit=limit,
        producer=record.verification.producer if record.verification else None,
        effective_precision=record.precision.label if record.precision else None,
        stages_s={stage: ns / 1e9 for stage, ns in record.stages_ns.items()},
        labels=tuple(record.labels),
        log_tail=record.outcome.log_tail if isinstance(record.outcome, Failed) else "",
    )


def reason_of(outcome: Outcome) -> str:
    """One line for people; "" when measured."""
    match outcome:
        case Unsupported(reason):
            return reason
        case Wrong(check, error, limit, detail):
            size = "not a number" if error is None else f"{error:.3g}"
            return f"{check}: error {size}, limit {limit:.3g}" + (f"; {detail}" if detail else "")
        case Failed(stage, kind, message, _):
            return f"{stage}: {kind}: {message}" if message else f"{stage}: {kind}"
        case TimedOut(stage, seconds):
            return f"{stage}: no answer within {seconds:g} s"
        case _:
            return ""


def summarise(records: Iterable[Record]) -> list[CellSummary]:
    """One summary per cell, in the order of the cells' words. Streams: holds no raw samples."""
    return [summary for summary, _ in summarise_apart(records, lambda record: 0)]


def summarise_apart(records: Iterable[Record], group: Callable[[Record], int]) -> list[tuple[CellSummary, int]]:
    """The same with one summary for each group of a cell's records, and the group's number."""
    cells: dict[tuple[Cell, int], _Gathered] = {}
    for record in records:
        cells.setdefault((record.cell, group(record)), _Gathered()).add(record, process_sample(record))
    return [(cells[key].summary(key[0]), key[1]) for key in sorted(cells)]


def _rate(measurement: Measurement, burst_ns: Sequence[int]) -> float | None:
    """Items per second: items an iteration over the median over bursts; None where a burst has no time.

    None also where the record's numbers are no measurement: no items, or so many that the rate is beyond a float.
    Bursts that drifted are left out where the record's policy says so.
    """
    iterations = measurement.bursts.iterations
    if not burst_ns or min(burst_ns) <= 0 or min(iterations) <= 0:
        return None
    times_ns = [burst_ns[index] / iterations[index] for index in kept(measurement)]
    rate = measurement.items_per_iteration * 1e9 / statistics.median(times_ns)
    return rate if 0 < rate < math.inf else None


def _latency(latency_ns: Sequence[float]) -> Latency | None:
    """(p50, p90, p99) of a cell's samples, as far as they are enough; None without any."""
    if not latency_ns:
        return None
    p50, *tail = percentiles(latency_ns, tuple(LEAST_SAMPLES))
    p90, p99 = (
        value / 1e9 if len(latency_ns) >= LEAST_SAMPLES[percent] else None
        for percent, value in zip((90, 99), tail, strict=True)
    )
    return p50 / 1e9, p90, p99


def parts_of(stages_ns: Mapping[str, Sequence[int]]) -> dict[str, Part]:
    """The stages of one process's iterations. The rarest stage is one call an iteration: others are counted by it."""
    timed = {name: taken for name, taken in stages_ns.items() if taken and min(taken) >= 0}
    iterations = min(map(len, timed.values()), default=1)
    return {name: Part(statistics.median(taken) / 1e9, round(len(taken) / iterations)) for name, taken in timed.items()}


def _error_and_limit(record: Record) -> tuple[float | None, float | None]:
    """Error against the reference and its limit: of the failed check where there is one, else of the verification."""
    if isinstance(record.outcome, Wrong):
        return record.outcome.error, record.outcome.limit
    if record.verification is not None:
        return record.verification.error, record.verification.limit
    return None, None


class _Gathered:
    """What is kept of one cell while records stream by: a few numbers a record."""

    def __init__(self) -> None:
        self.attempted = 0
        #: (outcome, reason) in the order of first sight.
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.log_tails: dict[tuple[str, str], str] = {}
        self.rates: list[float] = []
        #: Of all processes: 8 bytes each.
        self.latency_ns = array("d")
        self.stages_s: dict[str, list[float]] = {}
        self.labels: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.implausible: Counter[str] = Counter()
        #: outcome -> the largest error seen, with its limit; an error that is no number is the largest.
        self.worst: dict[str, tuple[float | None, float | None]] = {}
        self.item = ""
        self.tolerance_reason = ""
        self.producer: str | None = None
        self.effective_precision: str | None = None
        self.fingerprint: Fingerprint | None = None
        self.any_measured = False
        self.items: dict[str, float] = {}
        self.parts: dict[str, list[Part]] = {}
        self.peaks_bytes: list[int] = []
        self.layout: str | None = None
        self.answer: str | None = None
        self.device_memories: list[DeviceMemory] = []
        self.item_joules: dict[str, list[float]] = {}
        self.not_measured: dict[str, str] = {}
        self.effective: EffectivePrecision | None = None
        self.gemm_rates: dict[str, float] = {}

    def add(self, record: Record, sample: ProcessSample) -> None:
        """Take over what the summary needs of one record."""
        key = (sample.outcome, sample.reason)
        self.attempted += 1
        self.reasons[key] += 1
        if sample.log_tail:
            self.log_tails[key] = sample.log_tail
        self.labels.update(sample.labels)
        self.states[state_of(sample.outcome, sample.labels)] += 1
        for stage, seconds in sample.stages_s.items():
            self.stages_s.setdefault(stage, []).append(seconds)
        self.layout = self.layout or record.layout
        self.answer = self.answer or record.answer
        self._add_check(record, sample)
        if sample.outcome == "measured":
            self._add_measured(record, sample)
        if self.fingerprint is None:
            self.fingerprint = record.fingerprint

    def _add_check(self, record: Record, sample: ProcessSample) -> None:
        self.producer = self.producer or sample.producer
        self.effective_precision = self.effective_precision or sample.effective_precision
        self.effective = self.effective or record.precision
        if record.verification is not None:
            self.tolerance_reason = self.tolerance_reason or record.verification.reason
        if sample.limit is not None:
            error, _ = self.worst.get(sample.outcome, (0.0, None))
            if error is not None and (sample.error is None or sample.error >= error):
                self.worst[sample.outcome] = (sample.error, sample.limit)

    def _add_measured(self, record: Record, sample: ProcessSample) -> None:
        if not self.any_measured:
            self.fingerprint = record.fingerprint
        self.any_measured = True
        measurement = record.measurement
        if measurement is not None:
            self.item = self.item or measurement.item
            self.items = self.items or dict(measurement.items)
            for name, part in parts_of(measurement.stages_ns).items():
                self.parts.setdefault(name, []).append(part)
            if measurement.peak_rss_bytes is not None:
                self.peaks_bytes.append(measurement.peak_rss_bytes)
            self._add_passes(measurement)
            for word, rate in measurement.gemm_rates_flops_per_s.items():
                self.gemm_rates[word] = max(rate, self.gemm_rates.get(word, 0.0))
        if not sample.plausible:
            self.implausible.update(label for label in sample.labels if not plausible([label]))
        elif sample.rate is not None:
            self.rates.append(sample.rate)
            # A sample without a time makes all of its process doubtful.
            if measurement is not None and measurement.latency_ns and min(measurement.latency_ns) > 0:
                self.latency_ns.extend(measurement.latency_ns)

    def _add_passes(self, measurement: Measurement) -> None:
        """What the separate passes found, or why not."""
        self.not_measured = self.not_measured or dict(measurement.not_measured)
        if measurement.device_memory is not None:
            self.device_memories.append(measurement.device_memory)
        used = measurement.energy
        if used is not None and used.iterations > 0:
            items = used.iterations * measurement.items_per_iteration
            for rail, joules in used.rails_joules.items():
                self.item_joules.setdefault(rail, []).append(joules / items)

    def verdict(self) -> tuple[str, str, str]:
        """The cell's outcome, its reason and log tail: the rule in ``CellSummary``'s docstring."""
        wrong = [key for key in self.reasons if key[0] == "wrong"]
        if not wrong and self.rates:
            return "measured", "", ""
        if not wrong and self.any_measured:
            why = ", ".join(f"{label} in {count}" for label, count in sorted(self.implausible.items()))
            return "implausible", f"{why} of {self.attempted} processes" if why else "no usable bursts", ""
        outcome, reason = max(wrong or self.reasons, key=lambda key: self.reasons[key])
        return outcome, reason, self.log_tails.get((outcome, reason), "")

    def summary(self, cell: Cell) -> CellSummary:
        """The row of the cell, with no speed unless it is measured."""
        outcome, reason, log_tail = self.verdict()
        measured = outcome == "measured"
        rates = tuple(self.rates) if measured else ()
        error, limit = self.worst.get("wrong") or self.worst.get("measured") or (None, None)
        return CellSummary(
            cell=cell,
            outcome=outcome,
            reason=reason,
            item=self.item,
            processes=len(rates),
            attempted=self.attempted,
            throughput=interval(rates) if rates else None,
            latency_s=_latency(self.latency_ns) if measured else None,
            error=error,
            limit=limit,
            producer=self.producer,
            tolerance_reason=self.tolerance_reason,
            effective_precision=self.effective_precision,
            stages_s={stage: statistics.median(values) for stage, values in self.stages_s.items()},
            labels=dict(sorted(self.labels.items())),
            rates=rates,
            log_tail=log_tail,
            fingerprint=self.fingerprint,
            items=self.items,
            parts={name: _median_part(parts) for name, parts in self.parts.items()} if measured else {},
            peak_rss_bytes=round(statistics.median(self.peaks_bytes)) if self.peaks_bytes else None,
            layout=self.layout,
            answer=self.answer,
            device_memory=max(self.device_memories, key=lambda one: one.peak_bytes, default=None),
            item_joules={rail: statistics.median(each) for rail, each in self.item_joules.items()} if measured else {},
            not_measured=self.not_measured,
            effective=self.effective,
            gemm_rates_flops_per_s=self.gemm_rates,
            latency_samples=len(self.latency_ns) if measured else 0,
            states=dict(self.states),
        )


def _median_part(parts: Sequence[Part]) -> Part:
    return Part(statistics.median(part.seconds for part in parts), round(statistics.median(p.calls for p in parts)))
