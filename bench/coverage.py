"""``twinbench coverage``: which operators of a cell did not run on its device. A pass of its own, never timed.

Headline figures never hold a fallback: in a timed worker it is an error (PYTORCH_ENABLE_MPS_FALLBACK=0), and outputs
that lie on another device end the cell. This pass lets operators fall back, and lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import environments
from bench.audits import SCHEMA_VERSION, Coverage, Fallen
from bench.cell import Cell
from bench.member import Context
from bench.process import WorkerDied, WorkerTimeout
from bench.progress import progress
from bench.run import StageFailed, conversation
from bench.setup import Setup, context, plan, survey


def audit(setup: Setup, console: Console) -> list[Coverage]:
    """Audit every cell of ``setup``'s selection, each in a fresh worker.

    Raises:
        UsageError: the selection does not exist, or a file does not fit.
    """
    with progress(console) as view:
        shared = context(setup, "", on_stage=view.stage)
        found = survey(setup, shared, view.look)
        planned = plan(setup, found.devices)
        for note in (*found.notes, *planned.skips):
            view.note(note)
        for cell in planned.cells:
            shared.store.materials(shared.workloads[cell.workload], cell)
        view.planned(len(planned.cells))
        audits = []
        for cell in planned.cells:
            audits.append(_audit(cell, shared))
            view.block(())
    return audits


def _audit(cell: Cell, shared: Context) -> Coverage:
    materials = shared.store.materials(shared.workloads[cell.workload], cell)
    entry = environments.get(cell.environment)
    facts: dict[str, Any] = {}
    said: dict[str, Any] = {}
    outcome, reason = "audited", ""
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        with conversation(cell.environment, cell.device, shared, auditing=True) as worker:
            facts = dict(worker.facts)
            shared.on_stage(cell, "coverage")
            weights, inputs = str(materials.weights), str(materials.inputs)
            said = worker.ask("coverage", cell=cell.words(), weights=weights, inputs=inputs, twins=entry.twins)
    except StageFailed as failed:
        outcome, reason = str(failed.outcome["kind"]).replace("_", " "), str(failed)
    except WorkerTimeout as late:
        outcome, reason = "timed out", str(late)
    except WorkerDied as death:
        outcome, reason = "failed", str(death)
    return Coverage(
        schema=SCHEMA_VERSION,
        cell=cell,
        started_at=started_at,
        outcome=outcome,
        reason=reason,
        method=said.get("method", ""),
        operators=said.get("operators"),
        fallbacks=msgspec.convert(said.get("fallbacks", []), list[Fallen]),
        strict_error=said.get("strict_error"),
        note=said.get("note", ""),
        versions=facts.get("versions", {}),
        variables=environments.recorded(shared.child_environment(cell) | environments.audit_variables(entry)),
        device_name=facts.get("device_name"),
    )


def table(audits: Sequence[Coverage]) -> Table:
    """For a terminal."""
    made = Table(title="Operators that did not run on the device", title_justify="left")
    for column in ("cell", "operators seen", "fell back", "when nothing may be placed elsewhere"):
        made.add_column(column, overflow="fold")
    for one in audits:
        seen = "" if one.operators is None else f"{one.operators:,}"
        made.add_row(*map(Text, (one.cell.label, seen, one.finding, one.strict_error or "")))
    return made
