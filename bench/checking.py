"""``twinbench verify``: outputs against the reference, in fresh workers, with no timing at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.cell import Cell
from bench.errors import UsageError
from bench.member import Context
from bench.process import WorkerDied, WorkerTimeout
from bench.progress import progress
from bench.report.facts import reference_words
from bench.report.numbers import error as error_text
from bench.run import Conversation, StageFailed, conversation
from bench.setup import Setup, context, plan, survey
from bench.workload import Convergence


@dataclass(frozen=True)
class Check:
    """``outcome``: right, wrong, unsupported, failed or timed out. ``errors`` is per output, None = not a number."""

    cell: Cell
    outcome: str
    detail: str
    error: float | None = None
    limit: float | None = None
    producer: str | None = None
    effective_precision: str | None = None
    accuracy: float | None = None
    losses: Sequence[float] = ()
    answer: str | None = None


def check(setup: Setup, dump: Path | None, converge: bool, console: Console) -> list[Check]:
    """Verify every cell of ``setup``'s selection; with ``converge``, also train each to convergence.

    Raises:
        UsageError: the selection does not exist, ``dump`` is given for more than one cell, or ``converge`` for a
            workload or phase without real training data.
    """
    with progress(console) as view:
        shared = context(setup, "", on_stage=view.stage)
        found = survey(setup, shared, view.look)
        planned = plan(setup, found.devices)
        for note in (*found.notes, *planned.skips):
            view.note(note)
        if dump is not None and len(planned.cells) != 1:
            raise UsageError(f"--dump takes one cell, the selection has {len(planned.cells)}; name precision and phase")
        if dump is not None and dump.is_dir():
            raise UsageError(f"--dump takes a file, {dump} is a folder")
        trainings = {cell: _training(cell, shared) for cell in planned.cells if converge}
        for cell in planned.cells:
            shared.store.materials(shared.workloads[cell.workload], cell)
        view.planned(len(planned.cells))
        checks = []
        for cell in planned.cells:
            checks.append(_check(cell, shared, dump, trainings.get(cell)))
            view.block(())
    return checks


def _training(cell: Cell, shared: Context) -> Convergence:
    spec = shared.workloads[cell.workload]
    config = spec.settings(cell.size, cell.phase, cell.variant)
    data = spec.convergence(config, shared.seed) if cell.phase == "training" else None
    if data is None:
        raise UsageError(
            f"--converge needs the training phase of a size with real training data; {cell.workload}:{cell.size} "
            f"{cell.phase} has none (try mlp:digits --phase training)"
        )
    return data


def _check(cell: Cell, shared: Context, dump: Path | None, training: Convergence | None) -> Check:
    spec = shared.workloads[cell.workload]
    materials = shared.store.materials(spec, cell)
    reference = shared.store.reference(spec, cell)
    target = str(dump.resolve()) if dump is not None else None
    facts: dict[str, Any] = {}
    try:
        with conversation(cell.environment, cell.device, shared) as worker:
            worker.load(cell, materials)
            shared.on_stage(cell, "verify")
            facts = worker.ask("verify", **reference.arguments(), dump=target)
            fitted = _fit(worker, cell, shared, training) if training is not None else {}
    except StageFailed as failed:
        outcome = str(failed.outcome["kind"]).replace("_", " ")
        return _made(cell, outcome, str(failed), dict(failed.facts) or facts, {})
    except WorkerTimeout as late:
        return _made(cell, "timed out", str(late), facts, {})
    except WorkerDied as death:
        return _made(cell, "failed", str(death), facts, {})
    accuracy = fitted.get("accuracy")
    if training is not None and (accuracy is None or accuracy < training.accuracy):
        return _made(cell, "wrong", f"held-out accuracy {accuracy}, must reach {training.accuracy}", facts, fitted)
    return _made(cell, "right", "", facts, fitted)


def _fit(worker: Conversation, cell: Cell, shared: Context, training: Convergence) -> dict[str, Any]:
    shared.on_stage(cell, "fit")
    batches, held_out = shared.store.put(training.batches), shared.store.put(training.held_out)
    return worker.ask(
        "fit", batches=str(batches), held_out=str(held_out), labels=training.labels, scores=training.scores
    )


def _made(cell: Cell, outcome: str, detail: str, facts: dict[str, Any], fitted: dict[str, Any]) -> Check:
    verified = facts.get("verification") or {}
    effective = facts.get("precision") or {}
    return Check(
        cell=cell,
        outcome=outcome,
        detail=detail,
        error=verified.get("error"),
        limit=verified.get("limit"),
        producer=verified.get("producer"),
        effective_precision=effective.get("label"),
        accuracy=fitted.get("accuracy"),
        losses=fitted.get("losses", ()),
        answer=facts.get("answer"),
    )


def table(checks: Sequence[Check]) -> Table:
    """For a terminal."""
    made = Table(title="Outputs against the reference", title_justify="left")
    for column in ("cell", "outcome", "error (limit)", "effective precision", "reference", "held-out"):
        made.add_column(column, overflow="fold")
    for found in checks:
        outcome = found.outcome if not found.detail else f"{found.outcome}: {found.detail}"
        error = "" if found.limit is None else f"{error_text(found.error)} ({error_text(found.limit)})"
        accuracy = "" if found.accuracy is None else f"{found.accuracy:.2%}"
        reference = reference_words(found.cell, found.producer, found.error)
        row = (found.cell.label, outcome, error, found.effective_precision or "", reference, accuracy)
        made.add_row(*map(Text, row))
    return made


def answers(checks: Sequence[Check]) -> list[Text]:
    """What each pipeline found, a line each, for a terminal."""
    return [Text(f"{found.cell.label}: {found.answer}") for found in checks if found.answer]
