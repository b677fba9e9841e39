"""The frameworks themselves, in their own interpreters: same bytes in, same answers out, on every run of the tests.

One worker verifies many cells here (nothing is timed), so that a whole environment costs one import of its framework.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench import environments, store
from bench.cell import PRECISIONS, Cell
from bench.labels import plausible
from bench.member import Context
from bench.plan import IDIOM, Selection
from bench.precision import EXPECTED, acceptable
from bench.record import Measured
from bench.run import Conversation, StageFailed, conversation
from bench.setup import Setup, context, profile_of, workloads
from tests.conftest import chosen, interpreter_of, quicken
from tests.harness import Cli, command_line, only_run, records_of

WORKS = (("inference", "default"), ("training", "sgd"), ("training", "adam"))
#: Adam cannot be had in whole-cast fp16 (its second moments underflow, and the update is 0/0): in every framework the
#: third loss is NaN, and the outcome must say so (workloads/mlp/README.md).
HOPELESS = (("training", "adam"), "fp16")
#: A CPU has no TF32: see test_tf32_on_a_cpu_is_unsupported_by_measurement.
ON_CPU = tuple(word for word in PRECISIONS if word != "tf32")
SIZES = ("tiny-test", "digits")
#: What each framework has beside its idiom, and the precisions to try there: torch.compile takes 10 s a cell.
OTHER_MODES = {
    "torch": (("compiled", ("fp32", "amp-bf16")),),
    "tensorflow": (("eager", ON_CPU), ("xla", ON_CPU)),
    # On a CPU MLX starts a C++ compiler for every fused kernel, a second each.
    "mlx": (("compiled", ("fp32",)),),
}


@pytest.fixture
def shared(environment: str, interpreter: Path) -> Context:
    """A context whose workers run in the environment's own interpreter."""
    return context_of(environment, interpreter)


def context_of(environment: str, interpreter: Path) -> Context:
    """See ``shared``."""
    setup = Setup(Selection(), profile_of("quick", 1, 2), 0, 2, {environment: str(interpreter)})
    return context(setup, "parity")


def verified(worker: Conversation, cell: Cell, shared: Context) -> dict[str, object]:
    """The worker's findings on ``cell``; raises StageFailed when it is wrong or unsupported."""
    spec = shared.workloads[cell.workload]
    worker.load(cell, shared.store.materials(spec, cell))
    reference = shared.store.reference(spec, cell)
    return worker.ask("verify", **reference.arguments())


def fault(worker: Conversation, cell: Cell, shared: Context) -> str | None:
    """What is wrong with the cell, None when all is as it should be."""
    expected_nan = ((cell.phase, cell.variant), cell.precision) == HOPELESS
    try:
        found = verified(worker, cell, shared)["precision"]
    except StageFailed as failed:
        is_nan = failed.outcome["kind"] == "wrong" and "NaN" in str(failed)
        return None if expected_nan and is_nan else str(failed)
    assert isinstance(found, dict)
    if not acceptable(found["label"], cell.precision) or found["expected"] != EXPECTED[cell.precision]:
        return f"effective precision {found['label']}"
    return "right, where NaN was expected" if expected_nan else None


def cell_of(environment: str, size: str, work: tuple[str, str], precision: str, mode: str) -> Cell:
    """A cell of mlp on the CPU."""
    batch = workloads()["mlp"].sizes[size].batch
    return Cell("mlp", size, *work, batch, environment, "cpu", precision, mode)


def cells_of(environment: str) -> list[Cell]:
    """All that is verified of an environment: two sizes in its idiom, the small one in its other modes."""
    idiom = [
        cell_of(environment, size, work, precision, IDIOM[environment])
        for size in SIZES
        for work in WORKS
        for precision in ON_CPU
    ]
    others = [
        cell_of(environment, "tiny-test", work, precision, mode)
        for mode, precisions in OTHER_MODES.get(environment, ())
        for work in WORKS
        for precision in precisions
    ]
    return idiom + others


@pytest.fixture(scope="module")
def faults(interpreters: dict[str, Path], pytestconfig: pytest.Config) -> dict[str, Future[dict[Cell, str | None]]]:
    """What is wrong with each cell, by environment. Two at a time: nothing is timed, tracing keeps one core busy."""
    contexts = {name: context_of(name, interpreters[name]) for name in chosen(pytestconfig)}
    for name, shared in contexts.items():  # before two want to make the same reference
        for cell in cells_of(name):
            shared.store.reference(shared.workloads[cell.workload], cell)

    def all_of(environment: str) -> dict[Cell, str | None]:
        shared = contexts[environment]
        with conversation(environment, "cpu", shared) as worker:
            return {cell: fault(worker, cell, shared) for cell in cells_of(environment)}

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        quicken(patch)
        return {name: pool.submit(all_of, name) for name in contexts}


@pytest.mark.parametrize("size", SIZES)
def test_outputs_gradients_and_losses_match_the_reference_at_every_precision(
    environment: str, faults: dict[str, Future[dict[Cell, str | None]]], size: str
) -> None:
    found = {
        cell.label: said
        for cell, said in faults[environment].result().items()
        if (cell.size, cell.mode) == (size, IDIOM[environment])
    }
    assert len(found) == len(WORKS) * len(ON_CPU)
    assert found == dict.fromkeys(found)


@pytest.mark.parametrize("environment", list(OTHER_MODES))
def test_the_other_modes_match_too(environment: str, faults: dict[str, Future[dict[Cell, str | None]]]) -> None:
    found = {cell.label: said for cell, said in faults[environment].result().items() if cell.mode != IDIOM[environment]}
    assert len(found) == len(WORKS) * sum(len(precisions) for _, precisions in OTHER_MODES[environment])
    assert found == dict.fromkeys(found)


@pytest.mark.frameworks
@pytest.mark.parametrize(("name", "mode"), [("jax", "eager"), ("jax", "xla"), ("torch", "xla"), ("mlx", "xla")])
def test_a_mode_that_does_not_exist_is_unsupported_with_its_reason(name: str, mode: str) -> None:
    shared = context_of(name, interpreter_of(name))
    with conversation(name, "cpu", shared) as worker, pytest.raises(StageFailed) as failed:
        verified(worker, cell_of(name, "tiny-test", WORKS[0], "fp32", mode), shared)
    assert failed.value.outcome["kind"] == "unsupported"
    assert len(str(failed.value)) > 20, "a reason, not a word"


def test_tf32_on_a_cpu_is_unsupported_by_measurement(environment: str, shared: Context) -> None:
    with conversation(environment, "cpu", shared) as worker, pytest.raises(StageFailed) as failed:
        verified(worker, cell_of(environment, "tiny-test", WORKS[0], "tf32", IDIOM[environment]), shared)
    assert failed.value.outcome == {"kind": "unsupported", "reason": "asked for tf32, measured fp32"}


def test_a_framework_that_computes_something_else_is_found(environment: str, shared: Context) -> None:
    """The saboteur: the reference of other weights, so that every output of the real framework is off."""
    other = context(Setup(Selection(), profile_of("quick", 1, 2), 1, 2, {environment: ""}), "other")
    spec = shared.workloads["mlp"]
    with conversation(environment, "cpu", shared) as worker:
        for work in WORKS:
            for precision in ("fp32", "bf16"):
                cell = cell_of(environment, "digits", work, precision, IDIOM[environment])
                worker.load(cell, shared.store.materials(spec, cell))
                wrong = other.store.reference(spec, cell)
                with pytest.raises(StageFailed) as failed:
                    worker.ask("verify", reference=str(wrong.path), producer="sabotage")
                assert failed.value.outcome["kind"] == "wrong"
                assert failed.value.outcome["check"] == "outputs"


def test_full_size_matches_fp32_on_the_cpu(environment: str, interpreters: dict[str, Path]) -> None:
    """``wide`` against a reference made by torch, the producer named."""
    setup = Setup(
        Selection(), profile_of("quick", 1, 2), 0, 2, {name: str(path) for name, path in interpreters.items()}
    )
    shared = context(setup, "parity")
    with conversation(environment, "cpu", shared) as worker:
        found = verified(worker, cell_of(environment, "wide", WORKS[0], "fp32", IDIOM[environment]), shared)
    verification = found["verification"]
    assert isinstance(verification, dict)
    assert verification["producer"].startswith("torch 2.")
    assert verification["producer"].endswith(" cpu fp32")


@functools.cache
def learning(environment: str) -> tuple[tuple[float, ...], float]:
    """(loss of every step, held-out accuracy) of training on the real digits at fp32."""
    shared = context_of(environment, interpreter_of(environment))
    spec = shared.workloads["mlp"]
    data = spec.convergence(spec.sizes["digits"].config, 0)
    assert data is not None
    cell = cell_of(environment, "digits", ("training", "sgd"), "fp32", IDIOM[environment])
    with conversation(environment, "cpu", shared) as worker:
        worker.load(cell, shared.store.materials(spec, cell))
        paths = {"batches": str(shared.store.put(data.batches)), "held_out": str(shared.store.put(data.held_out))}
        first = worker.ask("fit", labels=data.labels, scores=data.scores, **paths)
        again = worker.ask("fit", labels=data.labels, scores=data.scores, **paths)
    assert again["losses"][:50] == first["losses"][:50], "a reset brings back exactly the first state"
    return tuple(first["losses"]), first["accuracy"]


def test_training_on_real_digits_converges(environment: str) -> None:
    losses, accuracy = learning(environment)
    assert accuracy >= 0.96
    assert np.mean(losses[-20:]) < 0.02 * losses[0]


@pytest.mark.frameworks
def test_loss_curves_agree_between_the_frameworks() -> None:
    curves = {name: np.array(learning(name)[0]) for name in environments.names()}
    for name, curve in curves.items():
        apart = np.abs(curve - curves["torch"])
        assert curve.shape == curves["torch"].shape
        assert apart[:22].max() < 1e-4, f"{name}: first epoch"
        assert apart.max() < 0.05, f"{name}: whole training"
    shifted = np.roll(curves["torch"], 1)
    assert np.abs(shifted - curves["torch"])[1:22].max() > 1e-2, "one step off is far outside the limit"


def test_a_run_in_the_real_framework(
    environment: str,
    interpreter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the command line to records: timed, plausible, with the pinned version in the fingerprint."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    cli: Cli = command_line(monkeypatch, capsys)
    selection = ("mlp:tiny-test", "--precision", "fp32", "--environment", environment)
    python = f"{environment}={interpreter}"
    code, out, err = cli("run", *selection, "--python", python, "--processes", "1", "--bursts", "3", "--results", "r")
    assert code == 0, out + err
    records = records_of(only_run(tmp_path / "r"))
    assert {record.cell.phase for record in records} == {"inference", "training"}
    for record in records:
        assert isinstance(record.outcome, Measured)
        assert plausible(record.labels), record.labels
        assert environment in record.fingerprint.versions or f"{environment}-cpu" in record.fingerprint.versions
        assert record.measurement is not None
        assert min(record.measurement.bursts.cpu_ns) > 0
    assert store.runs(tmp_path / "r")
