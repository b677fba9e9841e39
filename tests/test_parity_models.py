"""YOLOv5 and Whisper in the frameworks themselves, through the very stages of a run: every phase, precision and mode.

One worker verifies many cells, so that an environment costs one import. The references are NumPy's in float64, which
share no code with the twins, but for training, where torch's autograd makes them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench import environments, tensors
from bench.block import Context
from bench.cell import PRECISIONS, Cell
from bench.plan import IDIOM, Selection
from bench.record import Measured
from bench.run import Conversation, StageFailed, conversation
from bench.setup import Setup, context, profile_of, workloads
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
    return ("fp32", "bf16", "amp-fp16") if work[1] == "training" else ("fp32",)


@pytest.mark.usefixtures("quick_compiler")
def test_every_work_is_right(environment: str, shared: Context) -> None:
    cells = [
        cell_of(environment, work, precision, IDIOM[environment])
        for work in WORKS
        for precision in precisions_of(environment, work)
    ]
    with conversation(environment, "cpu", shared) as worker:
        found = {cell: verified(worker, cell, shared) for cell in cells}
    no_choice = [cell for cell in cells if (environment, cell.variant) in NO_CHOICE]
    for cell in no_choice:
        said = found.pop(cell)
        assert said.startswith("unsupported: "), said
        assert len(said) > 40, "a reason, not a word"
    assert {cell.label: said for cell, said in found.items() if said != "right"} == {}
    assert len(found) == len(cells) - len(no_choice)


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("environment", list(OTHER_MODES))
def test_the_other_modes_are_right(environment: str, shared: Context) -> None:
    cells = [cell_of(environment, work, "fp32", mode) for mode in OTHER_MODES[environment] for work in IN_OTHER_MODES]
    with conversation(environment, "cpu", shared) as worker:
        found = {cell.label: verified(worker, cell, shared) for cell in cells}
    assert found == dict.fromkeys(found, "right")


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


@pytest.mark.usefixtures("quick_compiler")
def test_other_weights_are_found_in_every_phase(
    environment: str, shared: Context, interpreters: dict[str, Path]
) -> None:
    """The saboteur: the reference of other weights, at the precision with the widest limits."""
    other = shared_context(interpreters, seed=1)
    works = [work for work in WORKS if work[2] in ("default", "adamw")]
    with conversation(environment, "cpu", shared) as worker:
        for work in works:
            cell = cell_of(environment, work, "bf16", IDIOM[environment])
            spec = shared.workloads[cell.workload]
            worker.load(cell, shared.store.materials(spec, cell))
            wrong = other.store.reference(spec, cell)
            with pytest.raises(StageFailed) as failed:
                worker.ask("verify", **wrong.arguments())
            assert failed.value.outcome["kind"] == "wrong", work
            assert failed.value.outcome["check"] == "outputs"


@pytest.mark.usefixtures("quick_compiler")
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
