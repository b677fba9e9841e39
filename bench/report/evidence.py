"""What a page shows beyond the summaries: single processes, their raw records, and findings about the suite itself.

Gathered while records stream by, and bounded: a page of ten thousand processes helps nobody.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.cell import Cell
from bench.record import Measured, Measurement, Record
from bench.report import error_rates
from bench.stats import percentiles
from bench.summary import process_sample

#: Processes of which a page knows anything: 300 cells, five processes each.
MAX_PROCESSES = 1_500
#: Raw records in a page, compressed, before base64 makes four bytes of three: the page must stay below 3 MB.
MAX_RAW_BYTES = 600_000
#: A process's stroke: from so many samples on; the last only from a hundred, where one is expected beyond it.
QUANTILES = (5.0, 25.0, 50.0, 75.0, 95.0, 99.0)
LEAST_STROKE, LEAST_P99 = 20, 100


@dataclass(frozen=True)
class Latencies:
    """Of one process, in s: the quantiles p5, p25, p50, p75, p95 (and p99), or ``samples`` where they are few."""

    quantiles: tuple[float, ...] = ()
    samples: tuple[float, ...] = ()


@dataclass(frozen=True)
class Process:
    """One record reduced to what the time-line, the latency figure and the roofline need.

    ``wall_s`` is the sum of its stages, ``latency`` is None where it was not timed; ``power`` what the fingerprint
    says of it. ``intensity`` is FLOP per byte, ``flops_per_s`` what was achieved; both None where the
    workload does not count. ``ceilings`` are matrix products by precision in FLOP/s, ``copy_bytes_per_s`` a copy.
    """

    cell: Cell
    run: str
    block: str
    number: int
    started_at: str
    wall_s: float
    outcome: str
    labels: tuple[str, ...]
    power: Mapping[str, Any]
    latency: Latencies | None = None
    foreign_share: float | None = None
    calibration_change: float | None = None
    intensity: float | None = None
    flops_per_s: float | None = None
    ceilings: Mapping[str, float] = field(default_factory=dict)
    copy_bytes_per_s: float | None = None


@dataclass(frozen=True)
class Evidence:
    """``raw`` is base64 of gzip of JSON lines ("" where they are too large, then ``raw_note`` says where they are).

    ``processes_cut`` counts processes beyond the first ``MAX_PROCESSES``.
    """

    processes: tuple[Process, ...] = ()
    processes_cut: int = 0
    raw: str = ""
    raw_note: str = ""
    selftest: error_rates.Panel | None = None


class Gatherer:
    """Takes records as they stream by."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.cut = 0
        # gzip, without a time in its header: the same records give the same bytes.
        self._gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        self._raw: list[bytes] = []
        self._raw_bytes = 0
        self._encoder = msgspec.json.Encoder()

    def add(self, record: Record) -> None:
        """Keep what the page needs of one record."""
        if len(self.processes) < MAX_PROCESSES:
            self.processes.append(process_of(record))
        else:
            self.cut += 1
        if self._raw_bytes <= MAX_RAW_BYTES:
            self._keep(self._gzip.compress(self._encoder.encode(record) + b"\n"))

    def _keep(self, data: bytes) -> None:
        self._raw.append(data)
        self._raw_bytes += len(data)

    def evidence(self, folders: Sequence[Path], problems: list[str]) -> Evidence:
        """All of it; ``problems`` collects panels that cannot be read."""
        self._keep(self._gzip.flush())
        fits = self._raw_bytes <= MAX_RAW_BYTES
        places = ", ".join(str(folder / "records.jsonl") for folder in folders)
        note = "" if fits else f"They are more than a page should carry; all of them are in {places}."
        return Evidence(
            processes=tuple(self.processes),
            processes_cut=self.cut,
            raw=base64.b64encode(b"".join(self._raw)).decode() if fits else "",
            raw_note=note,
            selftest=error_rates.read(folders, problems),
        )


def process_of(record: Record) -> Process:
    """One record reduced."""
    sample = process_sample(record)
    known: dict[str, Any] = {}
    measurement = record.measurement
    if isinstance(record.outcome, Measured) and measurement is not None:
        known = _measured(measurement, sample.rate if sample.plausible else None)
    return Process(
        cell=record.cell,
        run=record.run,
        block=record.block,
        number=record.process,
        started_at=record.started_at,
        wall_s=sum(ns for ns in record.stages_ns.values() if ns > 0) / 1e9,
        outcome=sample.outcome,
        labels=tuple(record.labels),
        power=record.fingerprint.power,
        **known,
    )


def _measured(one: Measurement, rate: float | None) -> dict[str, Any]:
    """``rate``: items per second, None where no speed may be shown."""
    copy, product = one.copy_bytes_per_s, one.gemm_flops_per_s
    known: dict[str, Any] = {"copy_bytes_per_s": copy if copy is not None and copy > 0 else None}
    rates = one.gemm_rates_flops_per_s or ({} if product is None else {"fastest": product})
    known["ceilings"] = {name: rate for name, rate in rates.items() if rate > 0}
    known["foreign_share"] = _foreign_share(one)
    before, after = one.calibration_before_ns, one.calibration_after_ns
    if before and after and min(before) > 0:
        known["calibration_change"] = min(after) / min(before) - 1
    if rate is None:
        return known
    if one.latency_ns and min(one.latency_ns) > 0:
        known["latency"] = _latencies([ns / 1e9 for ns in one.latency_ns])
    if one.flops_per_iteration is not None and one.flops_per_iteration > 0 and one.items_per_iteration > 0:
        achieved = one.flops_per_iteration * rate / one.items_per_iteration
        # A record that somebody edited may claim more than a float holds: that is no figure.
        known["flops_per_s"] = achieved if achieved < math.inf else None
        if one.bytes_per_iteration is not None and one.bytes_per_iteration > 0:
            known["intensity"] = one.flops_per_iteration / one.bytes_per_iteration
    return known


def _latencies(samples_s: Sequence[float]) -> Latencies:
    if len(samples_s) < LEAST_STROKE:
        return Latencies(samples=tuple(samples_s))
    told = QUANTILES if len(samples_s) >= LEAST_P99 else QUANTILES[:-1]
    return Latencies(quantiles=percentiles(samples_s, told))


def _foreign_share(one: Measurement) -> float | None:
    """CPU time of others per wall time of the bursts; None where it is unknown."""
    known = [
        (foreign, wall)
        for foreign, wall in zip(one.bursts.foreign_cpu_ns, one.bursts.wall_ns, strict=False)
        if foreign is not None
    ]
    wall_ns = sum(wall for _, wall in known)
    return sum(foreign for foreign, _ in known) / wall_ns if wall_ns > 0 else None
