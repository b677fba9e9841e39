"""Made-up summaries for the tests and screenshots of the report. No figure here was ever measured."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.cell import Cell
from bench.record import Fingerprint
from bench.report import ReportMeta, write_report
from bench.summary import CellSummary, Interval, Part
from bench.verdict import Comparison, Verdict

META = ReportMeta(
    title="Fixture: mlp on an imagined machine (synthetic figures)",
    runs=("2026-11-22T10-00-00-fixture",),
    started_at="2026-11-22T10:00:00+00:00",
    finished_at="2026-11-22T10:21:40+00:00",
    command="twinbench run mlp:digits mlp:wide --profile full",
    twinbench_version="0.1.0",
)
SPEED = {"torch": 1.0, "tensorflow": 0.71, "jax": 1.18}
PRECISION_GAIN = {"fp32": 1.0, "fp16": 0.31, "bf16": 1.42}
LIMITS = {"fp32": 2e-5, "fp16": 5e-3, "bf16": 3e-2}
BASE_RATE = {"digits inference": 1.31e6, "digits training": 2.4e5, "wide inference": 3920.0, "wide training": 1105.0}
MODES = {"torch": ("eager", "compiled"), "tensorflow": ("compiled",), "jax": ("compiled",)}


def cell(**words: object) -> Cell:
    """A cell with every word at its commonest value but those given."""
    return Cell("mlp", "digits", "inference", "default", 64, "torch", "cpu", "fp32", "eager").but(**words)


def fingerprint(one: Cell, **facts: object) -> Fingerprint:
    """Facts of an imagined Linux machine."""
    versions = {
        "torch": {"torch": "2.14.0"},
        "tensorflow": {"tensorflow": "2.21.0", "keras": "3.13.1"},
        "jax": {"jax": "0.11.2", "jaxlib": "0.11.2", "optax": "0.2.6"},
    }.get(one.environment, {one.environment: "1.0"})
    gpu = "Imagined GPU 9000 (synthetic)" if one.device != "cpu" else "Imagined CPU, 8 cores"
    cpu = {"name": "Imagined CPU", "cores": 8}
    machine = {"system": "Linux", "release": "6.8.0", "cpu": cpu, "memory_bytes": 2**35}
    digest = hashlib.sha256(f"{one.workload}{one.size}".encode()).hexdigest()
    found = Fingerprint(
        versions={"python": "3.11.9", "numpy": "2.4.6"} | versions,
        variables={"OMP_NUM_THREADS": "8"} | ({"JAX_PLATFORMS": one.device} if one.environment == "jax" else {}),
        device_name=gpu,
        threads=8,
        machine=machine,
        power={"on_ac": None, "governor": "performance", "low_power_mode": None},
        git_revision="a1b2c3d4e5f6",
        seed=0,
        weights_sha256=digest,
        inputs_sha256=digest[::-1],
    )
    return Fingerprint(**({name: getattr(found, name) for name in found.__struct_fields__} | facts))


def measured(one: Cell, rate: float, width: float = 0.03, processes: int = 5) -> CellSummary:
    """A measured cell at ``rate`` ± ``width`` (a share); one process has no interval."""
    interval = Interval(rate, rate / (1 + width), rate * (1 + width))
    p50 = 1.1 * one.batch / rate
    compiled = one.mode != "eager"
    stages = {"spawn": 0.11, "open": 1.9, "load": 0.04, "first_call": 1.3 if compiled else 0.012, "warm_up": 0.6}
    limit = LIMITS.get(one.precision, 1e-2)
    return CellSummary(
        cell=one,
        outcome="measured",
        reason="",
        item="sample",
        processes=processes,
        attempted=processes,
        throughput=interval if processes > 1 else Interval(rate, None, None),
        latency_s=(p50, 1.12 * p50, 1.71 * p50),
        error=limit * 0.13,
        limit=limit,
        producer="numpy-fp64" if one.size == "digits" else "cpu-fp32",
        tolerance_reason=f"{one.precision} accumulates over 128 terms; limit is 8 units in the last place of the sum",
        effective_precision=one.precision,
        stages_s=stages,
        labels={"stable": processes - 1, "noisy": 1} if processes > 1 else {"stable": 1},
        latency_samples=60 * processes,
        states={"quiet": processes - 1, "noisy": 1} if processes > 1 else {"quiet": 1},
        rates=tuple(rate * (1 + width * (i - 2) / 4) for i in range(processes)),
        fingerprint=fingerprint(one),
    )


def without_speed(one: Cell, outcome: str, reason: str, log_tail: str = "") -> CellSummary:
    """A cell with any outcome but ``measured``."""
    return replace(
        measured(one, 1.0), latency_samples=0, states={"not measured": 5},
        outcome=outcome, reason=reason, log_tail=log_tail, processes=0, throughput=None, latency_s=None, error=None,
        limit=None, producer=None, tolerance_reason="", effective_precision=None, stages_s={}, labels={}, rates=(),
    )  # fmt: skip


def wrong(one: Cell, planted_rate: float) -> CellSummary:
    """A wrong cell whose summary still carries a rate everywhere it can, to see that no reader shows it."""
    return replace(
        measured(one, planted_rate), outcome="wrong", error=0.31, latency_s=(one.batch / planted_rate,) * 3,
        reason="outputs: error 0.31 above the limit 0.005 (logits)",
    )  # fmt: skip


def grid(*, synthetic_gpu: bool = False) -> list[CellSummary]:
    """3 frameworks x CPU (and a synthetic cuda) x 3 precisions x inference and training on two sizes; one cell of each
    failure."""
    random = np.random.RandomState(7)
    found = []
    for size, batch in (("digits", 64), ("wide", 256)):
        for phase, variant in (("inference", "default"), ("training", "sgd"), ("training", "adam")):
            for environment, gain in SPEED.items():
                for device in ("cpu", "cuda") if synthetic_gpu else ("cpu",):
                    for mode in MODES[environment]:
                        for precision, factor in PRECISION_GAIN.items():
                            one = Cell("mlp", size, phase, variant, batch, environment, device, precision, mode)
                            rate = BASE_RATE[f"{size} {phase}"] * gain * factor * math.exp(random.normal(0, 0.08))
                            rate *= {"cuda": 24.0 if size == "wide" else 0.8}.get(device, 1.0)
                            rate *= {"adam": 0.8}.get(variant, 1.0) * {"compiled": 1.1}.get(mode, 1.0)
                            found.append(measured(one, rate, width=float(random.uniform(0.008, 0.09))))
    return _with_failures(found)


def _with_failures(found: list[CellSummary]) -> list[CellSummary]:
    log = 'Traceback (most recent call last):\n  File "worker.py", line 80, in first_call\nMemoryError: 3.1 GiB\n'
    changed = dict(enumerate(found))
    for index, one in changed.items():
        words = one.cell
        key = (words.size, words.phase_label, words.environment, words.device, words.precision, words.mode)
        if key == ("digits", "inference", "tensorflow", "cpu", "fp16", "compiled"):
            changed[index] = wrong(words, 987654.3)
        if key == ("wide", "inference", "jax", "cpu", "fp16", "compiled"):
            changed[index] = without_speed(words, "failed", "first_call: MemoryError: could not allocate 3.1 GiB", log)
        if key == ("wide", "training/adam", "torch", "cpu", "fp16", "compiled"):
            changed[index] = without_speed(words, "timed_out", "first_call did not answer within 120 s", "compiling…\n")
    jax_eager = [cell(environment="jax", precision=precision) for precision in PRECISION_GAIN]
    reason = "jax has no eager mode: its functions are staged by jit before they run"
    return [*changed.values(), *(without_speed(one, "unsupported", reason) for one in jax_eager)]


#: Seconds of each stage of an imagined iteration, and how often it runs.
STAGES = {
    "yolov5": {"preprocess": (0.004, 1), "transfer": (0.0006, 1), "model": (0.118, 1), "fetch": (0.0009, 1),
               "postprocess": (0.0021, 1)},
    "whisper": {"encode": (0.196, 1), "first": (0.031, 1), "next": (0.0094, 31)},
}  # fmt: skip


def pipelines() -> list[CellSummary]:
    """Cells whose iterations have stages, further units, a layout and an answer; their peaks are made up, too."""
    found = []
    for index, (environment, gain) in enumerate(SPEED.items()):
        image = Cell("yolov5", "s", "pipeline", "default", 1, environment, "cpu", "fp32", MODES[environment][0])
        speech = image.but(workload="whisper", size="tiny", phase="inference")
        seen = measured(image, 7.9 * gain)
        heard = measured(speech, 59.0 * gain)
        found += [
            replace(seen, item="images", items={"images": 1.0}, layout="NCHW" if index == 0 else "NHWC",
                    answer="2 objects: person 0.91, <b>tie</b> 0.44", peak_rss_bytes=412_000_000 + index),
            replace(heard, item="audio s", items={"audio s": 30.0, "tokens": 32.0}, peak_rss_bytes=3_140_000_000),
        ]  # fmt: skip
    return [
        replace(one, parts={name: Part(s / SPEED[one.cell.environment], n) for name, (s, n) in stages.items()})
        for one in found
        if (stages := STAGES[one.cell.workload])
    ]


def many(count: int) -> list[CellSummary]:
    """``count`` measured cells of a few works."""
    environments = [f"env{i}" for i in range(25)]
    cells = [
        cell(size=f"s{i}", environment=environment, precision=precision)
        for i in range(math.ceil(count / 75))
        for environment in environments
        for precision in PRECISION_GAIN
    ]
    return [measured(one, 1000.0 + 7 * index) for index, one in enumerate(cells[:count])]


def comparisons() -> list[Comparison]:
    """A verdict of each word."""
    base = cell()
    rows: Sequence[tuple[str, Interval | None, str]] = (
        ("faster", Interval(1.42, 1.36, 1.48), "whole interval above +3 %"),
        ("slower", Interval(0.88, 0.85, 0.91), "whole interval below -3 %"),
        ("same", Interval(1.004, 0.99, 1.018), "whole interval within ±3 %"),
        ("inconclusive", Interval(1.05, 0.97, 1.14), "interval crosses the margin; about 22 more blocks would tell"),
    )
    precisions = ("bf16", "fp16", "fp32", "amp-bf16")
    return [
        Comparison(base, base.but(precision=precision, mode="compiled"), "duet",
                          Verdict(word, ratio, 16, 0.003, detail), ("contended in 2 of 16 blocks",))
        for (word, ratio, detail), precision in zip(rows, precisions, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":  # python -m tests.report_fixtures FOLDER: pages to look at
    folder = Path(sys.argv[1])
    write_report(grid(), comparisons(), META, folder / "cpu.html")
    write_report(grid(synthetic_gpu=True), comparisons(), META, folder / "gpu.html")
    write_report([*grid()[:12], *pipelines()], comparisons(), META, folder / "pipelines.html")
    write_report(many(500), [], META, folder / "many.html")
    write_report([measured(cell(), 1000.0, processes=1)], [], META, folder / "single.html")
    write_report([without_speed(cell(), "failed", "open: ImportError: no torch")], [], META, folder / "none.html")
