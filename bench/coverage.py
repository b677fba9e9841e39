"""``twinbench coverage``: which operators of a cell did not run on its device. A pass of its own, never timed.

Headline figures never hold a fallback: in a timed worker it is an error (PYTORCH_ENABLE_MPS_FALLBACK=0), and outputs
that lie on another device end the cell. This pass lets operators fall back, and lists them. Its records lie beside a
run's: results/<run>/coverage.jsonl, one a line; the newest of a cell counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import environments
from bench.block import Context
from bench.cell import Cell
from bench.process import WorkerDied, WorkerTimeout
from bench.progress import progress
from bench.run import StageFailed, conversation
from bench.setup import Setup, context, plan, survey

FILE = "coverage.jsonl"
#: History: 1  2026-11  first version.
SCHEMA_VERSION = 1


class Fallen(Struct, frozen=True):
    """An operator that ran elsewhere; ``calls`` in one iteration, None where nobody counts."""

    operator: str
    where: str
    calls: int | None
    evidence: str


class Coverage(Struct, frozen=True):
    """What one audit of one cell found.

    ``outcome``: audited, or how it ended otherwise (unsupported, failed, timed out), and then why. ``operators`` counts
    the calls of one iteration that were seen, None where they cannot be counted.
    """

    schema: int
    cell: Cell
    started_at: str
    outcome: str
    reason: str
    method: str
    operators: int | None
    fallbacks: list[Fallen]
    strict_error: str | None
    note: str
    versions: dict[str, str]
    variables: dict[str, str]
    device_name: str | None

    @property
    def finding(self) -> str:
        """One line for people."""
        if self.outcome != "audited":
            return f"{self.outcome}: {self.reason}"
        if self.fallbacks:
            return ", ".join(fallen_text(one) for one in self.fallbacks)
        seen = "" if self.operators is None else f" of {self.operators:,} calls"
        return self.note if self.cell.device == "cpu" and self.note else f"none{seen}"


def fallen_text(one: Fallen) -> str:
    """``aten::linalg_svd on cpu (7 calls)``."""
    calls = "" if one.calls is None else f" ({one.calls} call{'' if one.calls == 1 else 's'})"
    return f"{one.operator} on {one.where}{calls}"


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


def append(folder: Path, audits: Iterable[Coverage]) -> Path:
    """Add ``audits`` to a run's; on disk when it returns."""
    path = folder / FILE
    encoder = msgspec.json.Encoder()
    with path.open("ab") as file:
        file.write(b"".join(encoder.encode(one) + b"\n" for one in audits))
        file.flush()
        os.fsync(file.fileno())
    return path


def read(folders: Sequence[Path], problems: list[str]) -> list[Coverage]:
    """The newest audit of each cell of some runs, in the order of the cells; what cannot be read is skipped.

    ``problems`` collects a sentence for each skipped line.
    """
    newest: dict[Cell, Coverage] = {}
    for one in (one for folder in folders for one in _lines(folder / FILE, problems)):
        if one.cell not in newest or newest[one.cell].started_at <= one.started_at:
            newest[one.cell] = one
    return [newest[cell] for cell in sorted(newest)]


def _lines(path: Path, problems: list[str]) -> Iterator[Coverage]:
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Coverage)
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            one = decoder.decode(line)
            if one.schema > SCHEMA_VERSION:
                raise ValueError(f"schema {one.schema} is newer than this twinbench reads ({SCHEMA_VERSION})")
            yield one
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            problems.append(f"{path}:{number}: not an audit: {error}")


def table(audits: Sequence[Coverage]) -> Table:
    """For a terminal."""
    made = Table(title="Operators that did not run on the device", title_justify="left")
    for column in ("cell", "operators seen", "fell back", "when nothing may be placed elsewhere"):
        made.add_column(column, overflow="fold")
    for one in audits:
        seen = "" if one.operators is None else f"{one.operators:,}"
        made.add_row(*map(Text, (one.cell.label, seen, one.finding, one.strict_error or "")))
    return made
