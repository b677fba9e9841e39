"""YOLOv5 and Whisper in the frameworks themselves, through the very stages of a run: every phase, precision and mode.

One worker verifies many cells, so that an environment costs one import; two environments are at it at once. The
references are NumPy's in float64, which share no code with the twins, but for training, where torch's autograd makes
them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench import environments, tensors
from bench.cell import PRECISIONS, Cell
from bench.member import Context
from bench.plan import IDIOM, Selection
from bench.record import Measured
from bench.run import Conversation, StageFailed, conversation
from bench.setup import Setup, context, profile_of, workloads
from tests.conftest import chosen, quicken
from tests.harness import Cli, command_line, only_run, records_of

Work = tuple[str, str, str]

#: Everything that the two can do, at the size for tests.
WORKS: tuple[Work, ...] = (
    ("yolov5", "inference", "default"),
    ("yolov5", "inference", "unfused"),
    ("yolov5", "inference", "channels-last"),
    ("yolov5", "pipeline", "default"),
    ("yolov5", "training", "sgd"),
    ("whisper", "inference", "default"),
    ("whisper", "inference", "encoder"),
    ("whisper", "inference", "tokens-3"),
    ("whisper", "pipeline", "default"),
    ("whisper", "training", "adamw"),
)
#: TensorFlow's kernels on a CPU know one layout, and so do MLX's anywhere, which is the default already.
NO_CHOICE = {("tensorflow", "channels-last"), ("mlx", "channels-last")}
#: MLX's CPU build computes 3 GFLOP/s on Linux, and is not in the main job there: whisper:tiny would take minutes.
FULL_SIZES = [name for name in environments.names() if name != "mlx"]
OTHER_MODES = {"torch": ("compiled",), "tensorflow": ("eager", "xla")}
#: Training compiles for minutes where the compiler has to see every convolution and its gradient.
IN_OTHER_MODES = (WORKS[0], WORKS[5])
SABOTAGED = tuple(work for work in WORKS if work[2] in ("default", "adamw"))
#: In which order environments are begun: TensorFlow traces for three minutes.
SLOWEST_FIRST = ("tensorflow", "jax", "torch", "mlx")


@pytest.fixture
def shared(interpreters: dict[str, Path]) -> Context:
    """A context whose workers run in the environments' own interpreters; torch makes the references of training."""
    return shared_context(interpreters, seed=0)


def shared_context(interpreters: dict[str, Path], seed: int) -> Context:
    """See ``shared``."""
    pythons = {name: str(path) for name, path in interpreters.items()}
    return context(Setup(Selection(), profile_of("quick", 1, 2), seed, 2, pythons), "parity")


def cell_of(environment: str, work: Work, precision: str, mode: str, size: str = "tiny-test") -> Cell:
    """A cell on the CPU."""
    workload, phase, variant = work
    batch = workloads()[workload].sizes[size].batch
    return Cell(workload, size, phase, variant, batch, environment, "cpu", precision, mode)


def verified(worker: Conversation, cell: Cell, shared: Context) -> str:
    """``right``, or what is the matter."""
    spec = shared.workloads[cell.workload]
    materials, reference = shared.store.materials(spec, cell), shared.store.reference(spec, cell)
    try:
        worker.load(cell, materials)
        worker.ask("verify", **reference.arguments())
    except StageFailed as failed:
        return f"{failed.outcome['kind']}: {failed}"
    return "right"


def precisions_of(environment: str, work: Work) -> tuple[str, ...]:
    """All of them for inference, whose other forms and pipelines share its code.

    A step of YOLOv5's training takes XLA 20 s to compile, TensorFlow 40 s to trace, and torch seconds to compute where
    convolutions are emulated.
    """
    if work[1:] == ("inference", "default"):
        return tuple(word for word in PRECISIONS if word != "tf32")  # a CPU has none: test_parity.py
    if work == ("yolov5", "training", "sgd"):
        return ("fp32",) if environment in ("jax", "tensorflow") else ("fp32", "amp-fp16")
    if work[1] == "training":
        return ("fp32", "amp-fp16") if environment in ("jax", "tensorflow") else ("fp32", "bf16", "amp-fp16")
    return ("fp32",)


def cells_of(environment: str) -> list[Cell]:
    """All that is verified of an environment at the size for tests: every work in its idiom, two in its other modes."""
    idiom = [
        cell_of(environment, work, precision, IDIOM[environment])
        for work in WORKS
        for precision in precisions_of(environment, work)
    ]
    others = [
        cell_of(environment, work, "fp32", mode) for mode in OTHER_MODES.get(environment, ()) for work in IN_OTHER_MODES
    ]
    return idiom + others


@dataclass(frozen=True)
class Verdicts:
    """What an environment says of its cells, and of works that are compared with the reference of other weights."""

    cells: Mapping[Cell, str]
    of_other_weights: Mapping[Work, str]


@pytest.fixture(scope="module")
def verdicts(interpreters: dict[str, Path], pytestconfig: pytest.Config) -> dict[str, Future[Verdicts]]:
    """By environment. Two at a time: nothing is timed, and tracing keeps one core busy."""
    shared, other = shared_context(interpreters, seed=0), shared_context(interpreters, seed=1)
    names = [name for name in SLOWEST_FIRST if name in chosen(pytestconfig)]
    for name in names:  # before two want to make the same one
        for cell in cells_of(name):
            shared.store.reference(shared.workloads[cell.workload], cell)
        for work in SABOTAGED:
            other.store.reference(shared.workloads[work[0]], cell_of(name, work, "bf16", IDIOM[name]))

    def all_of(environment: str) -> Verdicts:
        with conversation(environment, "cpu", shared) as worker:
            found = {cell: verified(worker, cell, shared) for cell in cells_of(environment)}
            return Verdicts(found, {work: sabotaged(worker, environment, work, shared, other) for work in SABOTAGED})

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        quicken(patch)
        return {name: pool.submit(all_of, name) for name in names}


def sabotaged(worker: Conversation, environment: str, work: Work, shared: Context, other: Context) -> str:
    """What is said of ``work`` beside the reference of ``other``'s weights."""
    cell = cell_of(environment, work, "bf16", IDIOM[environment])
    spec = shared.workloads[cell.workload]
    worker.load(cell, shared.store.materials(spec, cell))
    try:
        worker.ask("verify", **other.store.reference(spec, cell).arguments())
    except StageFailed as failed:
        return f"{failed.outcome['kind']}: {failed.outcome.get('check')}"
    return "right"


def test_every_work_is_right(environment: str, verdicts: dict[str, Future[Verdicts]]) -> None:
    found = {
        cell: said for cell, said in verdicts[environment].result().cells.items() if cell.mode == IDIOM[environment]
    }
    no_choice = [cell for cell in found if (environment, cell.variant) in NO_CHOICE]
    for cell in no_choice:
        said = found.pop(cell)
        assert said.startswith("unsupported: "), said
        assert len(said) > 40, "a reason, not a word"
    assert {cell.label: said for cell, said in found.items() if said != "right"} == {}
    assert {(cell.workload, cell.phase, cell.variant) for cell in [*found, *no_choice]} == set(WORKS)


@pytest.mark.parametrize("environment", list(OTHER_MODES))
def test_the_other_modes_are_right(environment: str, verdicts: dict[str, Future[Verdicts]]) -> None:
    found = {
        cell: said for cell, said in verdicts[environment].result().cells.items() if cell.mode != IDIOM[environment]
    }
    assert {cell.mode for cell in found} == set(OTHER_MODES[environment])
    assert {cell.label: said for cell, said in found.items() if said != "right"} == {}


@pytest.mark.parametrize("size", ["yolov5:n", "whisper:tiny"])
@pytest.mark.parametrize("environment", FULL_SIZES)
def test_the_sizes_of_the_main_job_are_right(environment: str, shared: Context, size: str) -> None:
    workload, _, name = size.partition(":")
    cells = [
        cell_of(environment, (workload, phase, "default"), "fp32", IDIOM[environment], name)
        for phase in ("inference", "pipeline")
    ]
    with conversation(environment, "cpu", shared) as worker:
        found = {cell.phase: verified(worker, cell, shared) for cell in cells}
    assert found == {"inference": "right", "pipeline": "right"}


def test_other_weights_are_found_in_every_phase(environment: str, verdicts: dict[str, Future[Verdicts]]) -> None:
    """The saboteur: the reference of other weights, at the precision with the widest limits."""
    found = verdicts[environment].result().of_other_weights
    assert found == dict.fromkeys(SABOTAGED, "wrong: outputs")


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("environment", ["torch", "jax"])
def test_without_torch_a_framework_makes_its_own_reference_and_it_is_said(
    environment: str, interpreter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path))
    alone = context(Setup(Selection(), profile_of("quick", 1, 2), 0, 2, {environment: str(interpreter)}), "alone")
    cell = cell_of(environment, ("whisper", "training", "adamw"), "fp32", IDIOM[environment])
    reference = alone.store.reference(alone.workloads["whisper"], cell)
    assert re.fullmatch(rf"{environment} \d+\.\d+\.\S+ cpu fp32", reference.producer)
    assert reference.own_names == (environment != "torch")
    with conversation(environment, "cpu", alone) as worker:
        assert verified(worker, cell, alone) == "right"


def test_frameworks_agree_on_the_answer(
    environment: str,
    interpreter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the command line to records: stages, units, memory, layout and the answer of the pipelines."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    cli: Cli = command_line(monkeypatch, capsys)
    works = ("yolov5:tiny-test", "whisper:tiny-test", "--phase", "inference", "--phase", "pipeline")
    words = ("--precision", "fp32", "--environment", environment, "--python", f"{environment}={interpreter}")
    code, out, err = cli("run", *works, *words, "--processes", "1", "--bursts", "3", "--results", "r")
    assert code == 0, out + err
    records = {(r.cell.workload, r.cell.phase): r for r in records_of(only_run(tmp_path / "r"))}
    assert len(records) == 4
    for (name, phase), record in records.items():
        assert isinstance(record.outcome, Measured), (name, phase, record.outcome)
        measurement = record.measurement
        assert measurement is not None
        assert measurement.peak_rss_bytes is not None
        assert 30 << 20 < measurement.peak_rss_bytes < 8 << 30  # MLX with its CPU build: 51 MB
        assert next(iter(measurement.items)) == measurement.item
        parts = {"encode", "first", "next"} if name == "whisper" else {"model"}
        around = {"preprocess", "transfer", "fetch", "postprocess"} if phase == "pipeline" else set()
        expected = around | parts if phase == "pipeline" or name == "whisper" else set()
        assert set(measurement.stages_ns) == expected
        assert all(min(spans) > 0 for spans in measurement.stages_ns.values())
        assert (record.answer is not None) == (phase == "pipeline")
        assert (record.layout in ("NCHW", "NHWC")) == (name == "yolov5")
    decoding = records["whisper", "inference"].measurement
    assert decoding is not None
    assert len(decoding.stages_ns["next"]) == 7 * len(decoding.stages_ns["first"]), (
        "eight tokens, one of them the first"
    )


@pytest.mark.usefixtures("quick_compiler")
def test_results_of_a_pipeline_can_be_had(environment: str, shared: Context, tmp_path: Path) -> None:
    cell = cell_of(environment, ("yolov5", "pipeline", "default"), "fp32", IDIOM[environment])
    spec = shared.workloads["yolov5"]
    reference = shared.store.reference(spec, cell)
    with conversation(environment, "cpu", shared) as worker:
        worker.load(cell, shared.store.materials(spec, cell))
        worker.ask("verify", **reference.arguments(), dump=str(tmp_path / "out.npz"))
    dumped = tensors.load(tmp_path / "out.npz")
    assert {"images", "predictions", "head.0", "result.detections", "result.count"} <= set(dumped)
    assert np.isfinite(dumped["result.detections"]).all()
